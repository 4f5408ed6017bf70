"""Schemas of nodes that are kept but unknown here, as far as the old file tells: for laying out the UI format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..nodes.host.standalone import io
from ..nodes.host.standalone.schema import Registry
from .graph import Node, Wire
from .rewrite import Prompt, is_link
from .table import rows

ANY = "*"


def with_stand_ins(registry: Registry, prompt: Prompt, origins: Mapping[str, Node]) -> dict[str, type[io.ComfyNode]]:
    """The registry, and a class for each unknown node type. origins: old nodes by new id."""
    found = dict(registry)
    unknown: dict[str, list[str]] = {}
    for node_id, entry in prompt.items():
        if entry["class_type"] not in registry:
            unknown.setdefault(entry["class_type"], []).append(node_id)
    used = _used(prompt)
    for kind, ids in unknown.items():
        outputs = _outputs(max(used.get(one, 0) for one in ids), [origins[one] for one in ids if one in origins])
        found[kind] = _class(kind, _inputs(kind, [prompt[one] for one in ids], origins, ids), outputs)
    return found


def _used(prompt: Prompt) -> dict[str, int]:
    """By node id how many of its outputs are used, counted up to the last one."""
    found: dict[str, int] = {}
    for entry in prompt.values():
        for value in entry["inputs"].values():
            if is_link(value):
                found[value[0]] = max(found.get(value[0], 0), value[1] + 1)
    return found


def _class(kind: str, inputs: list[io.BaseInput], outputs: list[io.BaseOutput]) -> type[io.ComfyNode]:
    class StandIn(io.ComfyNode):
        @classmethod
        def define_schema(cls) -> io.Schema:
            return io.Schema(node_id=kind, display_name=kind, category="", inputs=list(inputs), outputs=list(outputs))

    return StandIn


def _inputs(
    kind: str, entries: list[Mapping[str, Any]], origins: Mapping[str, Node], ids: list[str]
) -> list[io.BaseInput]:
    """Sockets first, then widgets in their order; types where the file or a value tells them."""
    row = rows().get(kind)
    order = list(row.inputs) if row else []
    types: dict[str, str] = {}
    values: dict[str, Any] = {}
    for node_id, entry in zip(ids, entries, strict=True):
        if node_id in origins:
            types = {**origins[node_id].types, **types}
            own = origins[node_id].inputs
            values = {**{name: value for name, value in own.items() if not isinstance(value, Wire)}, **values}
        values = {**values, **{name: value for name, value in entry["inputs"].items() if not isinstance(value, list)}}
        order += [name for name in entry["inputs"] if name not in order]
    names = dict.fromkeys([*order, *types])
    return [_input(name, types.get(name), values.get(name)) for name in names]


def _input(name: str, kind: str | None, value: Any) -> io.BaseInput:
    if isinstance(value, bool) or (value is None and kind == "BOOLEAN"):
        return io.Boolean.Input(name, default=value, optional=True)
    if isinstance(value, float) or kind == "FLOAT":
        return io.Float.Input(name, default=value, optional=True)
    if isinstance(value, int) or kind == "INT":
        return io.Int.Input(name, default=value, optional=True)
    if kind == "COMBO" and isinstance(value, str):
        return io.Combo.Input(name, options=[value], default=value, optional=True)
    if isinstance(value, str) or kind == "STRING":
        return io.String.Input(name, default=value, optional=True)
    return io.Custom(kind or ANY).Input(name, optional=True)


def _outputs(used: int, origins: Iterable[Node]) -> list[io.BaseOutput]:
    """As the old file names them, and as many as are used."""
    named = max((node.outputs for node in origins), key=len, default=())
    rest = [("", ANY)] * (used - len(named))
    return [io.Custom(kind).Output(name or None) for name, kind in [*_unique(named), *rest]]


def _unique(named: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    seen: set[str] = set()
    found = []
    for name, kind in named:
        found.append(("" if name in seen else name, kind))
        seen.add(name)
    return found
