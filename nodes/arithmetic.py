"""Formulas that people type into nodes: numbers, names, comparisons and a few functions, and nothing else."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

LARGEST, LONGEST = 1e300, 2000  # of a result, and of a formula in characters
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
    **{
        name: getattr(math, name)
        for name in ("ceil", "floor", "sqrt", "log", "log2", "log10", "exp", "sin", "cos", "tan")
    },
    **{"abs": abs, "int": int, "float": float, "max": max, "min": min, "pow": math.pow},
    "round": lambda value, digits=0: round(value, max(-300, min(int(digits), 300))) if digits else round(value),
    "sum": lambda *values: sum(values),
}
FAULTS = (ValueError, TypeError, KeyError, ArithmeticError, SyntaxError, RecursionError, MemoryError)


def result_of(formula: str, names: Mapping[str, Any]) -> Any:
    """The number or truth value of a formula. Raises ValueError, one line, for anything else."""
    if len(formula) > LONGEST:
        raise ValueError(f"expected a formula of at most {LONGEST} characters, found {len(formula)}")
    try:
        result = _number(ast.parse(formula.strip(), mode="eval").body, names)
        finite = abs(result) < LARGEST
    except FAULTS as error:
        raise ValueError(
            f"expected arithmetic on {', '.join(names) or 'numbers'}, found {formula[:60]!r}: {error}"
        ) from None
    if not finite:
        raise ValueError(f"expected a result below {LARGEST:g}, found more in {formula[:60]!r}")
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
            return _bounded(OPERATORS[type(kind)](_number(left, names), _number(right, names)))
        case ast.UnaryOp(op=kind, operand=operand) if type(kind) in OPERATORS:
            return OPERATORS[type(kind)](_number(operand, names))
        case ast.Compare(left=left, ops=[kind], comparators=[right]) if type(kind) in OPERATORS:
            return OPERATORS[type(kind)](_number(left, names), _number(right, names))
        case ast.BoolOp(op=kind, values=parts):
            found = [_number(part, names) for part in parts]
            return all(found) if isinstance(kind, ast.And) else any(found)
        case ast.IfExp(test=test, body=body, orelse=other):
            return _number(body if _number(test, names) else other, names)
        case ast.Call(func=ast.Name(id=name), args=given, keywords=[]) if name in FUNCTIONS:
            return FUNCTIONS[name](*(_number(one, names) for one in given))
    raise ValueError(f"not arithmetic: {ast.dump(tree)[:60]}")


def _bounded(value: Any) -> Any:
    """Whole numbers have no end of their own: many factors would fill the memory."""
    if not abs(value) < LARGEST:
        raise ValueError("too large")
    return value
