"""The table at work: a graph of other people's nodes → a workflow of ours, in API format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ..given_text import parse_json
from ..nodes.host.standalone import io
from ..nodes.host.standalone.inputs import CONVERTERS, unfold
from ..nodes.host.standalone.schema import Registry, schema_of
from .graph import Graph, Node, Wire
from .report import Report
from .table import Row

Entry = dict[str, Any]
Prompt = dict[str, Entry]


@dataclass(frozen=True)
class Later:
    """A value of the whole graph (`%name`) that is only known at the end."""

    name: str


class Bundle(dict[str, Any]):
    """What travels on a wire of another pack that has no counterpart: its consumers unpack it."""


@dataclass(kw_only=True)
class Rewriter:
    """A conversion under way.

    source: the old graph. registry: nodes that may be made. foreign: ids of nodes that work on another model.
    common: notes that rules leave for each other. made: by the old node's id the id of the node that does its main
    work. given: what its outputs became.
    """

    source: Graph
    registry: Registry
    report: Report
    foreign: set[str] = field(default_factory=set)
    common: dict[str, Any] = field(default_factory=dict)
    prompt: Prompt = field(default_factory=dict)
    made: dict[str, str] = field(default_factory=dict)
    given: dict[Wire, Any] = field(default_factory=dict)

    @cached_property
    def used_outputs(self) -> dict[str, int]:
        """By node id how many of its outputs are used, counted up to the last one."""
        found: dict[str, int] = {}
        for node in self.source.values():
            for _, wire in node.wires():
                found[wire.node] = max(found.get(wire.node, 0), wire.slot + 1)
        return found

    def value(self, source: Any) -> Any:
        """An input of the old graph in the new one: a value, a link [id, output], or None for nothing.

        Our nodes take no lists or objects: such a value is none.
        """
        found = self.given.get(source) if isinstance(source, Wire) else source
        return None if isinstance(found, (list, dict)) and not isinstance(source, Wire) else found

    def input(self, node: Node, name: str) -> Any:
        return self.value(node.inputs.get(name))

    def filled(self, node: Node, template: Any, parts: Mapping[str, str] | None = None) -> Any:
        """A value of the table's templates; see table.Value."""
        if isinstance(template, list):
            return [self.filled(node, one, parts) for one in template]
        if not isinstance(template, str) or template[:1] not in ("$", "%", "@"):
            return template
        mark, name = template[0], template[1:]
        if mark == "%":
            return Later(name)
        if mark == "@":
            part, _, slot = name.rpartition(".")
            return [(parts or {})[part], int(slot)]
        name, bar, default = name.partition("|")
        found = self.input(node, name)
        return _literal(default) if found is None and bar else found

    def options(self, node: Node, row: Row) -> dict[str, Any]:
        return {name: self.filled(node, template) for name, template in row.options.items()}

    def add(self, kind: str, inputs: Mapping[str, Any], origin: Node, title: str | None = None) -> str:
        """A node of ours; values are brought to the types and ranges of its inputs, missing ones get its defaults."""
        node_id = str(len(self.prompt) + 1)
        entries = {name: value for name, value in inputs.items() if value is not None}
        found = {}
        for slot in unfold(schema_of(self.registry[kind]).inputs, entries).slots:
            value = entries.get(slot.name, default_of(slot.given) if slot.required else None)
            fitted = None if value is None else self._fitted(slot.given, value, origin)
            if fitted is not None:
                found[slot.name] = fitted
        own = origin.title if origin.title and origin.title != origin.type else None
        meta: dict[str, Any] = {"title": title or own or self.name_of(kind)}
        self.prompt[node_id] = {
            "class_type": kind,
            "inputs": found,
            "_meta": meta if own else {**meta, "default": True},
        }
        return node_id

    def name_of(self, kind: str) -> str:
        return schema_of(self.registry[kind]).display_name or kind

    def give(self, node: Node, outputs: list[Any]) -> None:
        self.given |= {Wire(node.id, slot): value for slot, value in enumerate(outputs)}

    def _fitted(self, given: Any, value: Any, origin: Node) -> Any:
        if isinstance(value, Later) or is_link(value):
            return value
        if isinstance(given, io.Socket.Input) or isinstance(value, (list, dict)):
            self.report.remark(f"{origin.name}: {given.id} is {str(value)[:40]!r}, no {given.io_type}; left open")
            return default_of(given)
        convert = CONVERTERS.get(given.io_type)
        try:
            value = value if convert is None else convert(value)
        except (TypeError, ValueError, OverflowError):
            self.report.remark(f"{origin.name}: {given.id} is {value!r}, no {given.io_type}; the default stands there")
            return default_of(given)
        low, high = getattr(given, "min", None), getattr(given, "max", None)
        bound = low if low is not None and value < low else high if high is not None and value > high else None
        if bound is not None:
            self.report.remark(f"{origin.name}: {given.id} {value} is beyond {bound}, which is used")
            return bound
        return value


def is_link(value: Any) -> bool:
    """Whether a value of a new workflow is [node id, output]."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int)


def default_of(given: Any) -> Any:
    options, default = getattr(given, "options", None), getattr(given, "default", None)
    return options[0] if default is None and options else default


def _literal(text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError:
        return text


def told(rewriter: Rewriter, node: Node, row: Row, kinds: list[str], note: str | None = None) -> None:
    """The report's entry for a node that became others, or a value."""
    into = " + ".join(dict.fromkeys(rewriter.name_of(kind) for kind in kinds))
    kind = "unmapped" if row.lost else "mapped" if kinds else "replaced"
    notes = [text for text in (row.lost, note, row.note) if text]
    rewriter.report.add(kind, node.name, into or ("" if row.lost else "taken up by its neighbours"), "; ".join(notes))


def keep(rewriter: Rewriter, node: Node, note: str | None = None, kind: str = "kept") -> None:
    """The node as it is."""
    node_id = str(len(rewriter.prompt) + 1)
    inputs = {name: _kept(rewriter, value) for name, value in node.inputs.items()}
    usable = {name: value for name, value in inputs.items() if value is not None}
    if node.type in rewriter.registry:  # front ends name buttons as if they were values
        known = {slot.name for slot in unfold(schema_of(rewriter.registry[node.type]).inputs, usable).slots}
        usable = {name: value for name, value in usable.items() if name in known}
    entry: Entry = {"class_type": node.type, "inputs": usable, "_meta": {"title": node.title or node.type}}
    rewriter.prompt[node_id] = entry
    rewriter.made[node.id] = node_id
    slots = max(len(node.outputs), rewriter.used_outputs.get(node.id, 0))
    rewriter.give(node, [[node_id, slot] for slot in range(slots)])
    rewriter.report.add(kind, node.name, note=note)


def _kept(rewriter: Rewriter, source: Any) -> Any:
    """An input of a node that stays; a list that is no link is wrapped, as API files have it."""
    if isinstance(source, (list, dict)):
        return {"__value__": source}
    found = rewriter.value(source)
    return None if isinstance(found, Bundle) else found
