"""The table of node mappings: rows/*.json, one row a node, by pack."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

ROWS = Path(__file__).parent / "rows"
Value = Any
"""In a template: a literal; `$name` an input of the old node, or `$name|literal` where it has none; `%name` something
of the whole graph; `@part.n` output n of another node of the same row."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One node of another pack, and what becomes of it.

    inputs, widgets: names of its sockets, and of its widgets in the order of the form; a dict among the widgets gives
    more names by the value of the one before it. make: (part, node of ours, inputs) of the nodes that replace it.
    give: a value for each output. rule: a function that does it instead (rules/), with `options`. keep: it stays as
    it is. guidance: what it asks of the guider further down. lost: what is not carried over, and what to do.
    note: what differs. foreign: it works with another model, or asks a service.
    """

    type: str
    pack: str
    inputs: tuple[str, ...] = ()
    widgets: tuple[str | Mapping[str, Sequence[str]], ...] = ()
    make: tuple[tuple[str, str, Mapping[str, Value]], ...] = ()
    give: tuple[Value, ...] = ()
    rule: str | None = None
    options: Mapping[str, Value] = field(default_factory=dict)
    keep: bool = False
    foreign: bool = False
    guidance: Mapping[str, Value] = field(default_factory=dict)
    lost: str | None = None
    note: str | None = None
    fold: str | None = None

    def widget_names(self, values: Sequence[Any]) -> list[str]:
        """The names of its widgets in order, the options that `values` (by position) choose taken into account."""
        names: list[str] = []
        for entry in self.widgets:
            if isinstance(entry, str):
                names.append(entry)
            elif names and len(names) <= len(values):
                names.extend(entry.get(str(values[len(names) - 1]), ()))
        return names


@cache
def rows() -> Mapping[str, Row]:
    """All rows by node type."""
    found: dict[str, Row] = {}
    for path in sorted(ROWS.glob("*.json")):
        for name, entry in json.loads(path.read_text(encoding="utf-8")).items():
            assert name not in found, f"two rows for {name}"
            found[name] = _row(name, path.stem, entry)
    return found


def _row(name: str, pack: str, entry: Mapping[str, Any]) -> Row:
    parts: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    parts["make"] = tuple((part, node, inputs) for part, node, inputs in entry.get("make", ()))
    return Row(type=name, pack=pack, **parts)
