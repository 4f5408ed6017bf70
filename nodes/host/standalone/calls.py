"""One call of one node: on a locked throw-away class, with its hidden values, its answer brought to one form."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import io
from .schema import schema_of


@dataclass(kw_only=True)
class Result:
    """What a node gave: `values` by output number, and `ui` for the interface (JSON-able)."""

    values: list[Any]
    ui: dict[str, Any] = field(default_factory=dict)


def locked(node: type[io.ComfyNode], hidden: io.HiddenHolder) -> type[io.ComfyNode]:
    """A subclass for one call, with `hidden` set; setting any attribute of it raises AttributeError."""
    made: type[Any] = _Locked(node.__name__, (node,), {"hidden": hidden, "__module__": node.__module__})
    return made


def hidden_values(
    node: type[io.ComfyNode], node_id: str, prompt: Mapping[str, Any], extra_pnginfo: dict[str, Any] | None
) -> io.HiddenHolder:
    """The hidden values that the node's schema asks for."""
    offered = {"unique_id": node_id, "prompt": dict(prompt), "extra_pnginfo": extra_pnginfo}
    wanted = {hidden.name for hidden in schema_of(node).hidden}
    return io.HiddenHolder(**{name: value for name, value in offered.items() if name in wanted})  # type: ignore[arg-type]


def execute(node: type[io.ComfyNode], arguments: Mapping[str, Any]) -> Result:
    """Runs `execute` (awaited if async) and brings its answer to one form.

    Raises TypeError for an answer of another form or with another number of results than the schema has outputs.
    """
    answer = node.execute(**arguments)
    if inspect.iscoroutine(answer):
        answer = asyncio.run(answer)
    result = _as_result(answer)
    expected = len(schema_of(node).outputs)
    if len(result.values) != expected:
        raise TypeError(
            f"expected {expected} results, as the schema has outputs, the node returned {len(result.values)}"
        )
    return result


def _as_result(answer: Any) -> Result:
    if answer is None:
        return Result(values=[])
    if isinstance(answer, tuple):
        return Result(values=list(answer))
    if isinstance(answer, io.NodeOutput):
        return Result(values=list(answer.args), ui=_ui_dict(answer.ui))
    if isinstance(answer, dict) and answer.keys() <= {"result", "ui"}:
        return Result(values=list(answer.get("result") or ()), ui=_ui_dict(answer.get("ui")))
    raise TypeError(
        f"expected NodeOutput, a tuple, a dict of result and ui, or None, the node returned {type(answer).__name__}"
    )


def _ui_dict(ui: io.UIOutput | dict[str, Any] | None) -> dict[str, Any]:
    if ui is None:
        return {}
    return ui if isinstance(ui, dict) else ui.as_dict()


class _Locked(type):
    def __setattr__(cls, name: str, value: Any) -> None:
        raise AttributeError(f"cannot set {name!r} on node {cls.__name__}: nodes keep no state between runs")
