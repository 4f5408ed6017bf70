"""The finished workflow as files: API format with the inputs that people change as options, and UI format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..model_loaders.catalogue import files
from ..nodes.host.standalone.schema import Registry
from ..nodes.host.standalone.ui_blocks import OWN_PREFIX
from ..nodes.host.standalone.ui_format import ui_workflow
from .graph import Node
from .rewrite import Prompt
from .summary import STAGES
from .table import rows

EXPOSED: dict[str, dict[str, str]] = {
    "OpenLTXLoadModel": {"checkpoint": "checkpoint", "text-encoder": "text_encoder"},
    "OpenLTXLoadTransformer": {"transformer": "transformer", "text-encoder": "text_encoder"},
    "OpenLTXLoadUpscaler": {"upscaler": "upscaler"},
    "OpenLTXNoise": {"seed": "noise_seed"},
    "OpenLTXEmptyAVLatent": {"width": "width", "height": "height", "frames": "frames", "fps": "frame_rate"},
    "LoadImage": {"image": "image"},
    "LoadVideo": {"video": "file"},
    "LoadAudio": {"audio": "audio"},
    "OpenLTXSaveAV": {"prefix": "filename_prefix", "container": "container"},
    "OpenLTXSaveAudio": {"prefix": "filename_prefix", "container": "container"},
}
"""Options by node type; the first node of a type in the order of the work has them."""


def api_prompt(prompt: Prompt) -> tuple[Prompt, dict[str, str]]:
    """The workflow in the order of its work, with new numbers, titles and options; and the new ids by the old ones."""
    order = _ordered(prompt)
    numbers = {old: str(place + 1) for place, old in enumerate(order)}

    def renumbered(value: Any) -> Any:
        return [numbers[value[0]], value[1]] if isinstance(value, list) else value

    found: Prompt = {}
    for old in order:
        entry = prompt[old]
        inputs = {name: renumbered(value) for name, value in entry["inputs"].items()}
        found[numbers[old]] = {"class_type": entry["class_type"], "inputs": inputs, "_meta": dict(entry["_meta"])}
    _name_by_use(found)
    _unique_titles(found)
    _expose(found)
    return found, numbers


def ui_file(prompt: Prompt, registry: Registry, origins: Mapping[str, Node], *, name: str, note: str) -> dict[str, Any]:
    """UI format. Nodes that were kept have the values and properties of their own file.

    note: Markdown that stands left of the graph.
    """
    models = {file.name: {"name": file.name, "url": file.url, "directory": file.role} for file in files()}
    file = ui_workflow(prompt, registry, name=name, models=models, note=note)
    for node in file["nodes"]:
        _unclaim(node)
        origin = origins.get(str(node["id"]))
        if origin is None or origin.raw is None or origin.type != node["type"]:
            continue
        properties = origin.raw.get("properties")
        node["properties"] = {**node["properties"], **(properties if isinstance(properties, dict) else {})}
        if origin.unnamed:
            node["widgets_values"] = origin.raw.get("widgets_values")
    return file


def _unclaim(node: dict[str, Any]) -> None:
    """Only nodes of ours and of core have a pack that is known."""
    row = rows().get(node["type"])
    if not node["type"].startswith(OWN_PREFIX) and (row is None or row.pack != "core"):
        node["properties"].pop("cnr_id", None)


def _ordered(prompt: Prompt) -> list[str]:
    """Sources before what takes from them, else as they were made."""
    done: dict[str, None] = {}
    visiting: set[str] = set()

    def visit(node_id: str) -> None:
        stack = [node_id]
        while stack:
            name = stack[-1]
            visiting.add(name)
            waiting = [
                value[0]
                for value in prompt[name]["inputs"].values()
                if isinstance(value, list) and value[0] not in done and value[0] not in visiting
            ]
            if waiting:
                stack.append(waiting[0])
            else:
                stack.pop()
                done[name] = None

    for node_id in prompt:
        visit(node_id)
    return list(done)


def _name_by_use(prompt: Prompt) -> None:
    """Stages, and what belongs to each, by their number; titles of the old file stay."""
    stages = [entry for entry in prompt.values() if entry["class_type"] in STAGES]
    texts = {"positive": "Prompt", "negative": "Negative Prompt"}
    for number, stage in enumerate(stages, 1):
        names = [(stage, f"Stage {number}")]
        for name, title in (("noise", "Noise"), ("sampler", "Step Rule"), ("sigmas", "Sigmas"), ("guider", "Guider")):
            link = stage["inputs"].get(name)
            if isinstance(link, list):
                names.append((prompt[link[0]], title if len(stages) == 1 else f"{title} {number}"))
        for name, title in texts.items():
            text = _text_of(prompt, stage, name)
            if text is not None:
                names.append((prompt[text], title))
        for entry, title in names:
            if entry["_meta"].pop("default", False):
                entry["_meta"]["title"] = title


def _unique_titles(prompt: Prompt) -> None:
    """`--set TITLE.INPUT` wants titles that no other node has."""
    seen: dict[str, int] = {}
    for entry in prompt.values():
        entry["_meta"].pop("default", None)
        title = str(entry["_meta"].get("title") or entry["class_type"])
        seen[title] = seen.get(title, 0) + 1
        entry["_meta"]["title"] = title if seen[title] == 1 else f"{title} {seen[title]}"


def _expose(prompt: Prompt) -> None:
    taken: set[str] = set()
    for node_id, options in _prompts(prompt):
        _offer(prompt[node_id], options, taken)
    for stage in (entry for entry in prompt.values() if entry["class_type"] in STAGES):
        link = stage["inputs"].get("noise")
        if isinstance(link, list):
            _offer(prompt[link[0]], EXPOSED.get(prompt[link[0]]["class_type"], {}), taken)
    for entry in prompt.values():
        _offer(entry, EXPOSED.get(entry["class_type"], {}), taken)


def _offer(entry: dict[str, Any], options: Mapping[str, str], taken: set[str]) -> None:
    usable = {
        option: name
        for option, name in options.items()
        if option not in taken and name in entry["inputs"] and not isinstance(entry["inputs"][name], (list, dict))
    }
    if usable:
        entry["_meta"]["expose"] = {**entry["_meta"].get("expose", {}), **usable}
        taken.update(usable)


def _prompts(prompt: Prompt) -> list[tuple[str, dict[str, str]]]:
    """The texts of the first stage's guider."""
    found = []
    for entry in prompt.values():
        if entry["class_type"] not in STAGES:
            continue
        for name, option in (("positive", "prompt"), ("negative", "negative")):
            text = _text_of(prompt, entry, name)
            if text is not None:
                found.append((text, {option: "text"}))
        return found
    return found


def _text_of(prompt: Prompt, stage: Mapping[str, Any], name: str) -> str | None:
    """The prompt node behind a stage's guider."""
    place = stage["inputs"].get("guider")
    for _ in range(len(prompt)):
        if not isinstance(place, list) or place[0] not in prompt:
            return None
        entry = prompt[place[0]]
        if entry["class_type"] == "OpenLTXEncodePrompt":
            return str(place[0])
        place = entry["inputs"].get("guider", entry["inputs"].get(name))
    return None
