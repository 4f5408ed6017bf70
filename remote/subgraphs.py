"""Subgraphs of a UI file, flattened as ComfyUI's front end does: node 7 of the one that node 30 shows is `30:7`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Node = Mapping[str, Any]
Place = tuple[str, int]  # a node's id in the flat graph, and one of its outputs
MUTED, BYPASSED = 2, 4  # modes of a node
INPUT, OUTPUT = -10, -20  # ids of a subgraph's own border
DEEPEST = 32


@dataclass(kw_only=True)
class _Canvas:
    """shown_by: the node that stands for it on the canvas `above`. links: origin, its output, target, its input.

    given: values that the nodes around it have for widgets inside, by (node, widget).
    """

    definition: Node
    above: _Canvas | None = None
    shown_by: Node = field(default_factory=dict)
    prefix: str = ""
    nodes: dict[Any, Node] = field(default_factory=dict)
    links: dict[Any, tuple[Any, int, Any, int]] = field(default_factory=dict)
    inner: dict[Any, _Canvas] = field(default_factory=dict)
    given: dict[tuple[str, str], Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.nodes = {node["id"]: node for node in self.definition["nodes"]}
        self.links = dict(map(_link, self.definition["links"]))


def flattened(found: Mapping[str, Any]) -> tuple[dict[str, Node], dict[str, Place | None]]:
    """Nodes by id, and where each link comes from (None: from nothing).

    A node's sockets name their links anew; `promoted` are the widget values that the nodes around it have for it.
    """
    definitions = {entry["id"]: entry for entry in (found.get("definitions") or {}).get("subgraphs") or ()}
    canvases = list(_entered(_Canvas(definition=found), definitions, 0))
    nodes: dict[str, Node] = {}
    links: dict[str, Place | None] = {}
    for canvas in canvases:
        for node in canvas.nodes.values():
            if node["id"] in canvas.inner:
                continue
            node_id = f"{canvas.prefix}{node['id']}"
            sockets = [{**socket, "link": _named(canvas, socket.get("link"))} for socket in node.get("inputs") or ()]
            nodes[node_id] = {**node, "id": node_id, "inputs": sockets, "promoted": _promoted(canvas, node)}
        links |= {f"{canvas.prefix}{link}": _origin(canvas, link) for link in canvas.links}
    return nodes, links


def _named(canvas: _Canvas, link: Any) -> str | None:
    return None if link is None else f"{canvas.prefix}{link}"


def _promoted(canvas: _Canvas, node: Node) -> dict[str, Any]:
    return {name: value for (node_id, name), value in canvas.given.items() if node_id == str(node["id"])}


def _link(row: Any) -> tuple[Any, tuple[Any, int, Any, int]]:
    """Its id and ends; an object in subgraphs, and in files of version 1.0."""
    if isinstance(row, Mapping):
        return row["id"], (row["origin_id"], row["origin_slot"], row["target_id"], row["target_slot"])
    return row[0], (row[1], row[2], row[3], row[4])


def _entered(canvas: _Canvas, definitions: Mapping[str, Node], depth: int) -> Iterator[_Canvas]:
    """The canvas and those inside of it; muted and bypassed ones stay nodes."""
    if depth > DEEPEST:
        raise ValueError("expected subgraphs inside of each other, found one that contains itself")
    yield canvas
    for node in canvas.nodes.values():
        definition = definitions.get(node["type"])
        if definition is not None and node.get("mode", 0) not in (MUTED, BYPASSED):
            prefix = f"{canvas.prefix}{node['id']}:"
            inside = _Canvas(definition=definition, above=canvas, shown_by=node, prefix=prefix)
            inside.given = _values(inside, _promoted(canvas, node))
            canvas.inner[node["id"]] = inside
            yield from _entered(inside, definitions, depth + 1)


def _values(canvas: _Canvas, promoted: Mapping[str, Any]) -> dict[tuple[str, str], Any]:
    """What the node that shows a canvas says of widgets inside: in the file's list, or `promoted` from further out.

    The list goes by `proxyWidgets`, or where a front end writes none by the subgraph's inputs that lead to widgets.
    """
    inputs = {entry["name"]: _targets(canvas, entry) for entry in canvas.definition.get("inputs") or ()}
    proxies = [
        inputs.get(name, []) if str(node_id) == "-1" else [(str(node_id), name)]
        for node_id, name, *_ in (canvas.shown_by.get("properties") or {}).get("proxyWidgets") or ()
    ]
    stored = canvas.shown_by.get("widgets_values") or ()
    rows = proxies if len(proxies) == len(stored) else [targets for targets in inputs.values() if targets]
    listed = zip(rows, stored, strict=True) if len(rows) == len(stored) else ()
    found = {target: value for targets, value in listed for target in targets if value is not None}
    return found | {target: value for name, value in promoted.items() for target in inputs.get(name, [])}


def _targets(canvas: _Canvas, entry: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The widgets that an input of a subgraph leads to."""
    ends = [canvas.links[link][2:] for link in entry.get("linkIds") or () if link in canvas.links]
    sockets = [(node_id, canvas.nodes[node_id]["inputs"][slot]) for node_id, slot in ends if node_id in canvas.nodes]
    return [(str(node_id), socket["widget"]["name"]) for node_id, socket in sockets if socket.get("widget")]


def _origin(canvas: _Canvas, link: Any) -> Place | None:
    """The node that a link comes from, through the borders of subgraphs."""
    node_id, slot, _, _ = canvas.links[link]
    if node_id == INPUT and canvas.above is not None:
        name = canvas.definition["inputs"][slot]["name"]
        outer = [socket for socket in canvas.shown_by.get("inputs") or () if socket["name"] == name]
        linked = next((socket["link"] for socket in outer if socket.get("link") is not None), None)
        return None if linked is None else _origin(canvas.above, linked)
    if node_id not in canvas.inner:
        return f"{canvas.prefix}{node_id}", slot
    inside = canvas.inner[node_id]
    ends = [number for number, (_, _, target, place) in inside.links.items() if (target, place) == (OUTPUT, slot)]
    return _origin(inside, ends[0]) if ends else None
