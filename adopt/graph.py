"""A workflow as a plain graph, whatever file it came from: nodes with named values and wires, nothing virtual left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

MOST_OUTPUTS = 1000  # of a node; a damaged file can say any number


@dataclass(frozen=True)
class Wire:
    """Output number `slot` of the node `node`."""

    node: str
    slot: int


@dataclass(kw_only=True)
class Node:
    """One node as its file has it.

    inputs: by name a Wire or a value. types: of inputs, where the file tells. outputs: name and type of each, where the
    file tells. unnamed: values of a UI file whose names are unknown. raw: the node's entry in a UI file.
    """

    id: str
    type: str
    title: str | None = None
    inputs: dict[str, Any] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    outputs: tuple[tuple[str, str], ...] = ()
    unnamed: tuple[Any, ...] = ()
    raw: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """What a report calls it: `Guider (node 12, CFGGuider)`."""
        known = self.title if self.title and self.title != self.type else None
        return f"{known} (node {self.id}, {self.type})" if known else f"{self.type} (node {self.id})"

    @property
    def pack(self) -> str | None:
        """Its pack's id in the registry of nodes, where the file tells."""
        properties = None if self.raw is None else self.raw.get("properties")
        found = properties.get("cnr_id") if isinstance(properties, dict) else None
        return found if isinstance(found, str) and found else None

    def wires(self) -> Iterator[tuple[str, Wire]]:
        """The linked inputs."""
        return ((name, value) for name, value in self.inputs.items() if isinstance(value, Wire))


Graph = dict[str, Node]


@dataclass(kw_only=True)
class Found:
    """What a file holds. remarks: one line for everything in it that could not be read or was switched off."""

    graph: Graph
    form: str  # "UI" or "API"
    remarks: list[str] = field(default_factory=list)


def consumers(graph: Graph) -> dict[str, list[tuple[str, str, int]]]:
    """By node id who takes its outputs: (node id, input name, output number)."""
    found: dict[str, list[tuple[str, str, int]]] = {node_id: [] for node_id in graph}
    for node in graph.values():
        for name, wire in node.wires():
            if wire.node in found:
                found[wire.node].append((node.id, name, wire.slot))
    return found


def in_order(graph: Graph) -> tuple[list[Node], list[str]]:
    """Nodes after those that they take something from, and the ids of nodes in a circle (taken last)."""
    missing = {node.id: sum(wire.node in graph for _, wire in node.wires()) for node in graph.values()}
    takers, places = consumers(graph), {node_id: place for place, node_id in enumerate(graph)}
    done: list[str] = []
    ready = [node_id for node_id, count in missing.items() if count == 0]
    while ready:
        done += ready
        following: dict[str, None] = {}
        for node_id in ready:
            for taker, _, _ in takers[node_id]:
                missing[taker] -= 1
                if missing[taker] == 0:
                    following[taker] = None
        ready = sorted(following, key=places.__getitem__)
    circle = [node_id for node_id, count in missing.items() if count]
    return [graph[node_id] for node_id in (*done, *circle)], circle


def upstream(graph: Graph, node_id: str) -> Iterator[Node]:
    """The nodes that a node takes from, directly or not, nearest first."""
    seen, front = {node_id}, [node_id]
    while front:
        names = [wire.node for found in front for _, wire in graph[found].wires() if wire.node in graph]
        front = [name for name in dict.fromkeys(names) if name not in seen]
        seen.update(front)
        yield from (graph[name] for name in front)


def downstream(graph: Graph, node_id: str) -> Iterator[Node]:
    """The nodes that take from a node, directly or not, nearest first."""
    takers, seen, front = consumers(graph), {node_id}, [node_id]
    while front:
        names = [taker for found in front for taker, _, _ in takers[found]]
        front = [name for name in dict.fromkeys(names) if name not in seen]
        seen.update(front)
        yield from (graph[name] for name in front)
