"""Node ids that have changed, so that saved workflows with the old ones still run. No torch, no host.

ComfyUI is told at load and rewrites files of both formats (comfyui_host.md 1.3, 1.5); the built-in host rewrites what
it is about to run. An id that leaves the package gets its line in REPLACED; `nodes/surface.py` asks for it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Replacement:
    """Node `old` is now node `new`.

    inputs: new name -> old name, of every input to keep. values: new name -> value, of inputs that `old` did not have.
    outputs: old place -> new place, of those that moved. widgets: all widgets of `old`, in order (UI files).
    """

    old: str
    new: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[int, int] = field(default_factory=dict)
    widgets: tuple[str, ...] = ()


REPLACED: tuple[Replacement, ...] = ()
"""None yet."""


def with_replacements(
    prompt: Mapping[str, Any], known: Container[str], table: Iterable[Replacement] = REPLACED
) -> dict[str, Any]:
    """The workflow (API format) with nodes whose id is not `known` under their new ids, as a copy."""
    by_old = {entry.old: entry for entry in table}
    asked = {key: by_old.get(node["class_type"]) for key, node in prompt.items() if node["class_type"] not in known}
    found = {key: entry for key, entry in asked.items() if entry is not None}
    renamed = {key: _renamed(node, found[key]) if key in found else node for key, node in prompt.items()}
    return {key: {**node, "inputs": _relinked(node["inputs"], found)} for key, node in renamed.items()}


def _renamed(node: Mapping[str, Any], entry: Replacement) -> dict[str, Any]:
    inputs = {new: node["inputs"][old] for new, old in entry.inputs.items() if old in node["inputs"]}
    meta, now = dict(node.get("_meta") or {}), {old: new for new, old in entry.inputs.items()}
    if "expose" in meta:
        meta["expose"] = {option: now.get(name, name) for option, name in meta["expose"].items()}
    return {**node, "class_type": entry.new, "inputs": {**inputs, **entry.values}, "_meta": meta}


def _relinked(inputs: Mapping[str, Any], found: Mapping[str, Replacement]) -> dict[str, Any]:
    """Inputs whose links to replaced nodes name the new places of their outputs."""
    return {name: _moved(value, found) for name, value in inputs.items()}


def _moved(value: Any, found: Mapping[str, Replacement]) -> Any:
    if not (isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and value[0] in found):
        return value
    source, place = value
    return [source, found[source].outputs.get(place, place)]
