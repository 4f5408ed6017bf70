"""Values that the file itself decides: primitives, sums of them and switches are worked out and stand where they go."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from .graph import Graph, Node, Wire, in_order
from .table import rows

MOST_DIGITS = 1e300
OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(math, name) for name in ("ceil", "floor", "sqrt", "log", "log2", "exp")},
    **{"abs": abs, "int": int, "float": float, "max": max, "min": min, "round": round},
}


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
    result = _number(ast.parse(str(inputs["expression"]).strip(), mode="eval").body, names)
    if not abs(result) < MOST_DIGITS:
        raise ValueError("too large")
    return result


def _number(tree: ast.AST, names: Mapping[str, Any]) -> Any:
    """ValueError for anything but arithmetic on numbers."""
    match tree:
        case ast.Constant(value=bool() | int() | float() as value):
            return value
        case ast.Name(id=name) if name in names:
            return names[name]
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return math.pow(_number(left, names), _number(right, names))
        case ast.BinOp(left=left, op=kind, right=right) if type(kind) in OPERATORS:
            return OPERATORS[type(kind)](_number(left, names), _number(right, names))
        case ast.UnaryOp(op=kind, operand=operand) if type(kind) in OPERATORS:
            return OPERATORS[type(kind)](_number(operand, names))
        case ast.Compare(left=left, ops=[kind], comparators=[right]) if type(kind) in OPERATORS:
            return OPERATORS[type(kind)](_number(left, names), _number(right, names))
        case ast.IfExp(test=test, body=body, orelse=other):
            return _number(body if _number(test, names) else other, names)
        case ast.Call(func=ast.Name(id=name), args=given, keywords=[]) if name in FUNCTIONS:
            return FUNCTIONS[name](*(_number(one, names) for one in given))
    raise ValueError(f"not arithmetic: {ast.dump(tree)[:60]}")


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
