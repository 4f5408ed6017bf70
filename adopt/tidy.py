"""The rewritten workflow made whole: values known at the end, pairs of nodes that are one here, nothing unused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..nodes.host.standalone.schema import schema_of
from .graph import Wire
from .rewrite import Entry, Later, Prompt, Rewriter, is_link
from .rules.latents import EMPTY, JOIN, frame_rate

SPLIT, STAGES = "OpenLTXSplitAV", ("OpenLTXSampleStage", "OpenLTXSampleTiles", "OpenLTXSampleLooping")
CARRIERS = (
    "OpenLTXConditionImage", "OpenLTXConditionReference", "OpenLTXConditionInpaint", "OpenLTXUpscaleLatent",
)  # fmt: skip
"""Nodes that hand a latent on with both of its streams, through their inputs and outputs named `latent`."""
ALIKE = (
    "OpenLTXPresetGuider", "OpenLTXStreamGuidance", "OpenLTXGuider", "OpenLTXMaskRule", "OpenLTXSampler",
    "OpenLTXNamedSchedule", "OpenLTXDistilledSchedule", "OpenLTXEncodePrompt",
)  # fmt: skip
SHOWING = ("save", "preview", "show", "display", "export", "combine")
MODELS = ("OpenLTXLoadModel", "OpenLTXLoadTransformer")


def finish(rewriter: Rewriter) -> None:
    """Order matters: pieces are joined before unused ones go."""
    _voices(rewriter)
    _steady(rewriter)
    _resolve(rewriter)
    _single_streams(rewriter.prompt)
    _pairs(rewriter.prompt)
    _fit_sound(rewriter)
    _merge_equal(rewriter)
    _prune(rewriter)


def links(entry: Entry) -> Iterator[tuple[str, list[Any]]]:
    """The linked inputs of an API entry."""
    return ((name, value) for name, value in entry["inputs"].items() if is_link(value))


def users(prompt: Prompt, link: list[Any]) -> list[tuple[str, str]]:
    """(node id, input name) of everything that takes one output."""
    return [(node_id, name) for node_id, entry in prompt.items() for name, value in links(entry) if value == link]


def _voices(rewriter: Rewriter) -> None:
    for source, item, origin in rewriter.common.get("voices", []):
        stage = rewriter.prompt.get(rewriter.made.get(source, ""))
        if stage is not None and "latent" in stage["inputs"]:
            inputs = {"latent": stage["inputs"]["latent"], "strength": 1.0, **item}
            stage["inputs"]["latent"] = [rewriter.add("OpenLTXReferenceVoice", inputs, origin), 0]


def _steady(rewriter: Rewriter) -> None:
    """Step rules of stages whose guider a node of the old graph wanted steadied."""
    for entry in list(rewriter.prompt.values()):
        guider = entry["inputs"].get("guider")
        asked = rewriter.common.get("steady", {}).get(guider[0] if isinstance(guider, list) else None)
        if asked is None or "sampler" not in entry["inputs"]:
            continue
        given = {name: asked.get(name) for name in ("mean", "std", "percentile", "reference")}
        inputs = {
            "sampler": entry["inputs"]["sampler"],
            "video_factors": str(asked["steady"]),
            "audio_factors": "",
            **given,
        }
        origin = next(node for node in rewriter.source.values() if rewriter.made.get(node.id) == guider[0])
        entry["inputs"]["sampler"] = [rewriter.add("OpenLTXSteadySteps", inputs, origin, "Steady Steps"), 0]


def _resolve(rewriter: Rewriter) -> None:
    """Values of the whole graph into their places."""
    loader = next((node_id for node_id, entry in rewriter.prompt.items() if entry["class_type"] in MODELS), None)
    rate: Any = frame_rate(rewriter) if _asks_for(rewriter, "rate") else None
    rate = rewriter.value(rate) if isinstance(rate, Wire) else rate
    if loader is None and (_asks_for(rewriter, "model") or _asks_for(rewriter, "text_encoder")):
        rewriter.report.remark("no model loader in the file that is known here: connect one to what is left open")
    rate = float(rate) if isinstance(rate, (int, float)) else rate
    common = {"rate": rate, "model": loader and [loader, 0], "text_encoder": loader and [loader, 1]}
    for entry in rewriter.prompt.values():
        entry["inputs"] = {
            name: common[value.name] if isinstance(value, Later) else value for name, value in entry["inputs"].items()
        }
        entry["inputs"] = {name: value for name, value in entry["inputs"].items() if value is not None}


def _asks_for(rewriter: Rewriter, name: str) -> bool:
    return any(value == Later(name) for entry in rewriter.prompt.values() for value in entry["inputs"].values())


def _single_streams(prompt: Prompt) -> None:
    """Taking a latent of one stream apart is that latent."""
    for node_id, entry in list(prompt.items()):
        if entry["class_type"] != SPLIT or not isinstance(entry["inputs"].get("latent"), list):
            continue
        head = _head(prompt, entry["inputs"]["latent"][0])
        kind = "" if head is None else prompt[head]["inputs"].get("streams")
        if kind not in ("video only", "audio only"):
            continue
        own = int(kind == "audio only")
        _rewire(prompt, [node_id, own], entry["inputs"]["latent"])
        for other, name in users(prompt, [node_id, 1 - own]):
            del prompt[other]["inputs"][name]
        del prompt[node_id]


def _head(prompt: Prompt, node_id: str) -> str | None:
    """The empty latent that one began as; None where it began otherwise."""
    for _ in range(len(prompt)):
        entry = prompt.get(node_id)
        if entry is None or entry["class_type"] == EMPTY:
            return node_id if entry else None
        source = entry["inputs"].get("latent")
        if not isinstance(source, list) or entry["class_type"] == SPLIT:
            return None
        node_id = source[0]
    return None


def _pairs(prompt: Prompt) -> None:
    """Join of two empty latents: one for both; join of what was just taken apart: never taken apart."""
    for node_id, entry in list(prompt.items()):
        if entry["class_type"] != JOIN or not all(
            isinstance(entry["inputs"].get(side), list) for side in ("video", "audio")
        ):
            continue
        chain = _chain(prompt, entry["inputs"]["video"])
        sound = entry["inputs"]["audio"]
        if chain is None:
            continue
        first, start = chain
        if _both_empty(prompt, start, sound):
            prompt[start[0]]["inputs"]["streams"] = "video and audio"
        elif first is not None and _taken_apart(prompt, start, sound):
            prompt[first]["inputs"]["latent"] = prompt[start[0]]["inputs"]["latent"]
        else:
            continue
        _rewire(prompt, [node_id, 0], entry["inputs"]["video"])
        del prompt[node_id]


def _chain(prompt: Prompt, link: list[Any]) -> tuple[str | None, list[Any]] | None:
    """Back over nodes that hand both streams on and serve this latent alone: the first of them, and what it takes."""
    first = None
    while link[0] in prompt and prompt[link[0]]["class_type"] in CARRIERS:
        if len(users(prompt, link)) != 1 or not isinstance(prompt[link[0]]["inputs"].get("latent"), list):
            return None
        first, link = link[0], prompt[link[0]]["inputs"]["latent"]
    return (first, link) if link[0] in prompt else None


def _both_empty(prompt: Prompt, video: list[Any], audio: list[Any]) -> bool:
    """Whether two empty latents can be one: of the same duration, and the picture's used here only."""
    one, other = prompt[video[0]], prompt.get(audio[0])
    if other is None or one["class_type"] != EMPTY or other["class_type"] != EMPTY:
        return False
    kinds = (one["inputs"].get("streams"), other["inputs"].get("streams"))
    same = all(_same(one["inputs"].get(name), other["inputs"].get(name), name) for name in ("frames", "frame_rate"))
    return kinds == ("video only", "audio only") and same and len(users(prompt, video)) == 1


def _taken_apart(prompt: Prompt, video: list[Any], audio: list[Any]) -> bool:
    """Whether both are the parts of one latent."""
    split = prompt[video[0]]
    parts = video[1] == 0 and audio == [video[0], 1]
    return parts and split["class_type"] == SPLIT and isinstance(split["inputs"].get("latent"), list)


def _same(one: Any, other: Any, name: str) -> bool:
    if name == "frames" and isinstance(one, int) and isinstance(other, int):
        return (one - 1) // 8 == (other - 1) // 8
    return bool(one == other)


def _fit_sound(rewriter: Rewriter) -> None:
    """Encoded sound as long as the picture that it is joined with."""
    prompt = rewriter.prompt
    for entry in list(prompt.values()):
        if entry["class_type"] != JOIN:
            continue
        link = entry["inputs"].get("audio")
        while isinstance(link, list) and prompt[link[0]]["class_type"] == "OpenLTXFreezeStream":
            link = prompt[link[0]]["inputs"].get("latent")
        if isinstance(link, list) and prompt[link[0]]["class_type"] == "OpenLTXEncodeAudio":
            prompt[link[0]]["inputs"].setdefault("video", entry["inputs"]["video"])
            rewriter.report.differs(
                "sound of another length is cut or filled up to the clip's; ComfyUI leaves it as it is"
            )


def _merge_equal(rewriter: Rewriter) -> None:
    """Nodes that say the same become one: two stages under the same rules have one guider."""
    prompt = rewriter.prompt
    while True:
        seen: dict[str, str] = {}
        same: dict[str, str] = {}
        for node_id, entry in prompt.items():
            if entry["class_type"] in ALIKE:
                first = seen.setdefault(repr((entry["class_type"], sorted(entry["inputs"].items()))), node_id)
                same |= {node_id: first} if first != node_id else {}
        if not same:
            return
        for node_id in same:
            del prompt[node_id]
        for entry in prompt.values():
            entry["inputs"] |= {name: [same[link[0]], link[1]] for name, link in links(entry) if link[0] in same}
        rewriter.made = {old: same.get(new, new) for old, new in rewriter.made.items()}


def _rewire(prompt: Prompt, old: list[Any], new: list[Any]) -> None:
    for node_id, name in users(prompt, old):
        prompt[node_id]["inputs"][name] = new


def _prune(rewriter: Rewriter) -> None:
    """Nodes that no output needs go; a file without any output keeps all."""
    prompt = rewriter.prompt
    for entry in prompt.values():
        entry["inputs"] = {
            name: value
            for name, value in entry["inputs"].items()
            if not isinstance(value, list) or (is_link(value) and value[0] in prompt)
        }
    origins = {new: old for old, new in reversed(rewriter.made.items())}
    roots = [node_id for node_id, entry in prompt.items() if is_output(rewriter, origins.get(node_id), entry)]
    if not roots:
        rewriter.report.remark(
            "nothing in the file saves or shows anything: add Save AV File (LTX) behind the decoders"
        )
        return
    needed, front = set(roots), list(roots)
    while front:
        for _, link in links(prompt[front.pop()]):
            if link[0] not in needed:
                needed.add(link[0])
                front.append(link[0])
    rewriter.prompt = {node_id: entry for node_id, entry in prompt.items() if node_id in needed}


def is_output(rewriter: Rewriter, old: str | None, entry: Entry) -> bool:
    """A node that saves or shows; of unknown ones those that look so: nothing goes on from them. old: its old id."""
    kind = entry["class_type"]
    if kind in rewriter.registry:
        return bool(schema_of(rewriter.registry[kind]).is_output_node)
    if old is None or old in rewriter.used_outputs:
        return False
    return not rewriter.source[old].outputs or any(word in kind.lower() for word in SHOWING)
