"""Reads a workflow file in API format and sets its inputs by name (design.md section 2, packaging.md 3.3)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....given_text import parse_json, quoted
from .inputs import CONVERTERS, Slot, link_of, unfold
from .schema import Registry, schema_of
from .validate import Prompt, title_of

Kind = tuple[str, Sequence[Any] | None]
"""The type of an input and, of a choice, what there is to choose from."""
SetOne = Callable[[Prompt, str, str], dict[str, Any]]
"""(workflow, NODE.INPUT, text) to a workflow with that input set."""
_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True, kw_only=True)
class Exposed:
    """What a workflow offers as an option: `input` of node `node_id` under the name `option`, and its `value` now."""

    option: str
    node_id: str
    input: str
    value: Any


def read_workflow(path: str | Path) -> dict[str, Any]:
    """The workflow in a file. Raises ValueError (one line): unreadable, no JSON, UI format, no class_type."""
    found = read_json(path)
    try:
        return check_format(found)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_json(path: str | Path) -> Any:
    """A parsed file. Raises ValueError (one line) for one that cannot be read or is no JSON."""
    try:
        return parse_json(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: expected a readable workflow file: {error.strerror}") from error
    except ValueError as error:  # JSON and UTF-8 errors
        raise ValueError(f"{path}: expected JSON: {error}") from error


def is_ui_format(found: Any) -> bool:
    """Whether a parsed file is what ComfyUI's front end saves, and not what it sends to the server."""
    return isinstance(found, dict) and "nodes" in found and "links" in found


def check_format(found: Any) -> dict[str, Any]:
    """A parsed file as a workflow in API format. Raises ValueError (one line) if it is none."""
    if not isinstance(found, dict) or not found:
        raise ValueError("expected a workflow in API format: an object of nodes by id")
    if is_ui_format(found):
        raise ValueError("expected API format, found UI format; in ComfyUI use Workflow > Export (API)")
    for node_id, node in found.items():
        if not isinstance(node, dict) or not isinstance(node.get("class_type"), str):
            raise ValueError(f"node {node_id}: expected an object with class_type, found {_short(node)}")
        if not isinstance(node.get("inputs"), dict):
            raise ValueError(
                f"node {node_id} ({node['class_type']}): expected an object of inputs, found {_short(node)}"
            )
    return found


def exposed_inputs(prompt: Prompt) -> dict[str, Exposed]:
    """The inputs that the file offers, by option name, in the order of its nodes (`_meta.expose`: option -> input).

    Raises ValueError for an option given twice and for an input that the node does not have or that is linked.
    """
    found: dict[str, Exposed] = {}
    for node_id, node in prompt.items():
        for option, name in _exposed_by(node_id, node).items():
            if option in found:
                raise ValueError(
                    f"option {quoted(option)}: exposed by node {found[option].node_id} and by node {node_id}; "
                    "rename one"
                )
            if name not in node["inputs"] or link_of(node["inputs"][name]) is not None:
                values = [entry for entry, value in node["inputs"].items() if not isinstance(value, list)]
                place = f"option {quoted(option)} of node {node_id}"
                raise ValueError(f"{place}: expected one of its values {', '.join(values)}, found {quoted(name)}")
            found[option] = Exposed(option=option, node_id=node_id, input=name, value=node["inputs"][name])
    return found


def _exposed_by(node_id: str, node: Mapping[str, Any]) -> Mapping[str, str]:
    meta = node.get("_meta")
    given = meta.get("expose") or {} if isinstance(meta, Mapping) else {}
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given.values()):
        raise ValueError(f"node {node_id}: expected names of inputs by option under expose, found {quoted(given)}")
    return given


def set_exposed(prompt: Prompt, inputs: Mapping[str, Any], set_one: SetOne) -> dict[str, Any]:
    """The workflow with exposed inputs set by option name (`_` may stand for `-`); `set_one` is `set_input`, filled in.

    Raises ValueError for an option that the workflow does not have.
    """
    exposed = exposed_inputs(prompt)
    changed = dict(prompt)
    for name, value in ((name.replace("_", "-"), value) for name, value in inputs.items()):
        if name not in exposed:
            raise ValueError(f"{name}: no such option of this workflow; it has {', '.join(exposed) or 'none'}")
        target = f"{exposed[name].node_id}.{exposed[name].input}"
        try:
            changed = set_one(changed, target, str(value))
        except ValueError as error:
            raise ValueError(str(error).replace(target, name, 1)) from error
    return changed


def set_input(prompt: Prompt, target: str, text: str, registry: Registry) -> dict[str, Any]:
    """`set_value` of the nodes in the registry."""

    def kinds(node: Mapping[str, Any]) -> dict[str, Kind]:
        if node["class_type"] not in registry:
            raise ValueError(f"{target}: expected a known node type, found {node['class_type']!r}")
        slots = unfold(schema_of(registry[node["class_type"]]).inputs, node["inputs"]).slots
        return {
            slot.name: (slot.given.io_type, getattr(slot.given, "options", None)) for slot in slots if _takes_text(slot)
        }

    return set_value(prompt, target, text, kinds)


def set_value(
    prompt: Prompt, target: str, text: str, kinds: Callable[[Mapping[str, Any]], Mapping[str, Kind]]
) -> dict[str, Any]:
    """A copy of the workflow with one input set: `target` is NODE.INPUT, NODE an id or a unique title.

    kinds: the settable inputs of a node by name. `text` is converted by the input's type (INT, FLOAT, BOOLEAN words
    such as true and off, a choice's own type); a link that stood there is replaced. Raises ValueError, with the list
    of what exists, for an unknown node or input.
    """
    node_id, name = _find(prompt, target)
    settable = kinds(prompt[node_id])
    if name not in settable:
        raise ValueError(f"{target}: expected an input out of {', '.join(settable) or '(none)'}, found {quoted(name)}")
    changed = copy.deepcopy({key: dict(value) for key, value in prompt.items()})
    changed[node_id]["inputs"][name] = _parsed(target, *settable[name], text)
    return changed


def _find(prompt: Prompt, target: str) -> tuple[str, str]:
    """Node id and input name of NODE.INPUT; titles and dynamic inputs may hold dots, so every split is tried."""
    parts = target.split(".")
    splits = [(".".join(parts[:cut]), ".".join(parts[cut:])) for cut in range(1, len(parts))]
    for node, name in splits:
        if node in prompt:
            return node, name
        titled = [node_id for node_id, entry in prompt.items() if title_of(entry) == node]
        if len(titled) > 1:
            raise ValueError(f"{target}: the title {node!r} belongs to nodes {', '.join(titled)}; use the id")
        if titled:
            return titled[0], name
    names = ", ".join(f"{node_id} ({title_of(entry) or entry['class_type']})" for node_id, entry in prompt.items())
    raise ValueError(f"{target}: expected NODE.INPUT with a node out of {names}")


def _takes_text(slot: Slot) -> bool:
    return slot.given.io_type in CONVERTERS or hasattr(slot.given, "options")


def _parsed(target: str, io_type: str, options: Sequence[Any] | None, text: str) -> Any:
    if options is not None:
        return next((option for option in options if isinstance(option, int) and str(option) == text), text)
    if io_type == "BOOLEAN":
        if text.lower() not in _WORDS:
            raise ValueError(f"{target}: expected true or false, found {quoted(text)}")
        return _WORDS[text.lower()]
    try:
        return CONVERTERS[io_type](text)
    except ValueError:
        raise ValueError(f"{target}: expected {io_type}, found {quoted(text)}") from None


def _short(value: Any) -> str:
    if not isinstance(value, Mapping):
        return quoted(value)
    return f"only {', '.join(map(str, value))[:200] or 'an empty object'}"
