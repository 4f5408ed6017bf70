"""Widget values of a UI file by name: files of new front ends name them, older ones have them by position only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from ..nodes.host.standalone.io import BaseInput
from ..nodes.host.standalone.schema import schema_of
from ..nodes.host.standalone.ui_blocks import SEEDS, WIDGET_TYPES
from .table import Row

AFTER_SEED = ("fixed", "increment", "decrement", "randomize")
UPLOADS = ("image", "file", "video", "audio")
BUTTONS = ("image", "video", "audio", None, "")  # what stands after the value of an upload, if anything


@dataclass(frozen=True, kw_only=True)
class Widgets:
    """Values by name, and those whose names are unknown."""

    named: dict[str, Any] = field(default_factory=dict)
    unnamed: tuple[Any, ...] = ()


def widgets_of(node: Mapping[str, Any], row: Row | None) -> Widgets:
    """`row` is what the table knows of the node's type, `node` its entry in the file."""
    named = node.get("widgets_values_named")
    if isinstance(named, dict) and named:
        return Widgets(named={name: value for name, value in named.items() if name != "control_after_generate"})
    stored = node.get("widgets_values")
    if isinstance(stored, dict):
        return Widgets(named={name: value for name, value in stored.items() if name != "videopreview"})
    values = stored if isinstance(stored, list) else []
    in_file = _socket_names(node)
    found = _paired(in_file, values)
    if not found.unnamed or row is None:
        return found
    known = _paired(row.widget_names(values), values)
    return known if len(known.unnamed) < len(found.unnamed) or not in_file else found


@cache
def own_rows() -> Mapping[str, Row]:
    """Our own nodes as rows: their widgets in order, and that they stay as they are."""
    from ..nodes.registry import NODES

    schemas = [schema_of(node) for node in NODES]
    return {
        schema.node_id: Row(
            type=schema.node_id,
            pack="openltx",
            widgets=tuple(given.id for given in _in_order(schema.inputs) if given.io_type in WIDGET_TYPES),
            keep=True,
        )
        for schema in schemas
    }


def _in_order(inputs: Sequence[BaseInput]) -> list[BaseInput]:
    """As forms show them: required ones first."""
    return sorted(inputs, key=lambda given: given.optional)


def _socket_names(node: Mapping[str, Any]) -> list[str]:
    """Front ends from 1.16 on list every widget among the inputs, in its order."""
    sockets = node.get("inputs")
    return [
        socket["name"]
        for socket in (sockets if isinstance(sockets, list) else [])
        if isinstance(socket, dict) and socket.get("widget") and isinstance(socket.get("name"), str)
    ]


def _paired(names: Sequence[str], values: Sequence[Any]) -> Widgets:
    """Names with values in their order; what becomes of a seed after a run stands after it and has no name."""
    found: dict[str, Any] = {}
    place = 0
    for name in names:
        if place >= len(values):
            break
        found[name] = values[place]
        place += 1
        seed = name.split(".")[-1] in SEEDS or isinstance(found[name], int)
        after = values[place] if place < len(values) else None
        if isinstance(after, str) and ((seed and after in AFTER_SEED) or (name in UPLOADS and after == "image")):
            place += 1
    rest = list(values[place:])
    while rest and rest[-1] in BUTTONS:
        rest.pop()
    return Widgets(named=found, unnamed=tuple(rest))
