"""Values that the file itself decides: primitives, sums of them and switches are worked out and stand where they go."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ..nodes.arithmetic import result_of
from .graph import Graph, Node, Wire, in_order
from .table import rows


def folded(graph: Graph) -> tuple[Graph, dict[str, int]]:
    """The graph without those nodes, and how often each of them was used, by name."""
    known: dict[Wire, Any] = {}
    used: dict[str, int] = {}
    kept: Graph = {}
    for node in in_order(graph)[0]:
        given = {
            name: known.get(value, value) if isinstance(value, Wire) else value for name, value in node.inputs.items()
        }
        for _, wire in node.wires():
            if wire in known:
                used[graph[wire.node].name] = used.get(graph[wire.node].name, 0) + 1
        node = Node(**{**vars(node), "inputs": given})
        outputs = _outputs(node)
        if outputs is None:
            kept[node.id] = node
        else:
            used.setdefault(node.name, 0)
            known |= {Wire(node.id, slot): value for slot, value in enumerate(outputs)}
    return kept, used


def _outputs(node: Node) -> list[Any] | None:
    """Its values, or None where they are only known when the workflow runs."""
    row = rows().get(node.type)
    if row is None or row.fold is None:
        return None
    if row.fold in ("value", "switch"):
        return FOLDS[row.fold](node.inputs)
    if any(isinstance(value, Wire) for value in node.inputs.values()):
        return None
    try:
        return FOLDS[row.fold](node.inputs)
    except (ValueError, TypeError, KeyError, ArithmeticError, SyntaxError, RecursionError, AttributeError):
        return None


def _value(inputs: Mapping[str, Any]) -> list[Any] | None:
    found = next((inputs[name] for name in ("value", "string", "seed") if name in inputs), None)
    return None if found is None else [found]


def _switch(inputs: Mapping[str, Any]) -> list[Any] | None:
    if not isinstance(inputs.get("switch"), bool):
        return None
    chosen = inputs.get("on_true" if inputs["switch"] else "on_false")
    return None if chosen is None else [chosen]


def _math(inputs: Mapping[str, Any]) -> list[Any]:
    result = _evaluated(inputs)
    return [float(result), int(result), bool(result)]


def _math_int_first(inputs: Mapping[str, Any]) -> list[Any]:
    result = _evaluated(inputs)
    return [int(result), float(result)]


def _evaluated(inputs: Mapping[str, Any]) -> Any:
    names = {name.split(".")[-1]: value for name, value in inputs.items() if isinstance(value, (bool, int, float))}
    return result_of(str(inputs["expression"]), names)


def _resolution(inputs: Mapping[str, Any]) -> list[Any]:
    """Sides of so many megapixels (of 1024 x 1024) in a ratio `16:9 (…)`, to the nearest multiple."""
    wide, high = (int(part) for part in str(inputs["aspect_ratio"]).split(" ")[0].split(":"))
    pixels, multiple = float(inputs["megapixels"]) * 2**20, int(inputs["multiple"])
    return [round(math.sqrt(pixels * one / other) / multiple) * multiple for one, other in ((wide, high), (high, wide))]


def _concatenate(inputs: Mapping[str, Any]) -> list[Any]:
    return [str(inputs.get("delimiter", "")).join((str(inputs["string_a"]), str(inputs["string_b"])))]


def _integer(inputs: Mapping[str, Any]) -> list[Any]:
    return [int(inputs["a"])]


FOLDS: dict[str, Callable[[Mapping[str, Any]], list[Any] | None]] = {
    "value": _value,
    "switch": _switch,
    "math": _math,
    "math_int_first": _math_int_first,
    "resolution": _resolution,
    "concatenate": _concatenate,
    "integer": _integer,
}
