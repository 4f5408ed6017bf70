"""API format → graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .graph import MOST_OUTPUTS, Found, Graph, Node, Wire


def read_api(found: Mapping[str, Any]) -> Found:
    """What cannot be read of it becomes a remark."""
    graph: Graph = {}
    remarks: list[str] = []
    for node_id, entry in found.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("class_type"), str):
            remarks.append(f"entry {node_id!r}: no node (it has no class_type); left out")
            continue
        graph[str(node_id)] = _node(str(node_id), entry)
    for node in graph.values():
        for name, wire in list(node.wires()):
            if wire.node not in graph:
                remarks.append(
                    f"{node.name}: its input {name} comes from node {wire.node}, which is not there; left open"
                )
                del node.inputs[name]
    return Found(graph=graph, form="API", remarks=remarks)


def _node(node_id: str, entry: Mapping[str, Any]) -> Node:
    given = entry.get("inputs")
    meta = entry.get("_meta")
    title = meta.get("title") if isinstance(meta, dict) else None
    inputs = {str(name): _value(value) for name, value in (given if isinstance(given, dict) else {}).items()}
    return Node(id=node_id, type=entry["class_type"], title=title if isinstance(title, str) else None, inputs=inputs)


def _value(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"__value__"}:
        return value["__value__"]
    match value:
        case [str() | int() as node_id, int(slot)] if not isinstance(node_id, bool) and 0 <= slot < MOST_OUTPUTS:
            return Wire(str(node_id), slot)
    return value
