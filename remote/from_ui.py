"""UI format → API format, as ComfyUI's front end does it when a workflow is queued (comfyui_host.md section 7).

What a node's values are called is in the server's description of its type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .described import walk
from .subgraphs import BYPASSED, MUTED, Node, Place, flattened

Describe = Callable[[str], Mapping[str, Any] | None]
Links = Mapping[Any, Place | None]
NOTES, REROUTE, PRIMITIVE = ("Note", "MarkdownNote"), "Reroute", "PrimitiveNode"  # live in the front end only


def api_format(found: Mapping[str, Any], describe: Describe) -> dict[str, Any]:
    """The workflow as the server runs it. Raises ValueError, one line, for what cannot be converted.

    describe: the entry of a node type in /object_info, or None.
    """
    nodes, links = flattened(found)
    graph = {}
    for node in sorted(nodes.values(), key=lambda node: node.get("order", 0)):
        if node["type"] not in (*NOTES, REROUTE, PRIMITIVE) and node.get("mode", 0) not in (MUTED, BYPASSED):
            graph[node["id"]] = _converted(node, nodes, links, describe)
    return graph


def _converted(node: Node, nodes: Mapping[str, Node], links: Links, describe: Describe) -> dict[str, Any]:
    entry = describe(node["type"])
    name = node.get("title") or (entry or {}).get("display_name") or node["type"]
    if entry is None:
        raise ValueError(f"{name} (node {node['id']}): the server has no node type {node['type']!r}")
    inputs = _values(node, entry)
    inputs |= {name: value for name, value in node["promoted"].items() if name in inputs}
    for socket in node.get("inputs") or ():
        source = None if socket.get("link") is None else _source(links[socket["link"]], nodes, links)
        if source is not None:
            inputs[socket["name"]] = source
    return {"inputs": inputs, "class_type": node["type"], "_meta": {"title": name}}


def _values(node: Node, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Widget values by name: the file has them in the order of the widgets, a few packs by name."""
    stored = node.get("widgets_values") or []
    values: dict[str, Any] = {}
    if isinstance(stored, Mapping):
        for widget in walk(entry, stored):
            values[widget.name] = stored.get(widget.name, widget.default)
        return values
    rest: Iterator[Any] = iter(stored)
    buttons = 0
    for widget in walk(entry, values):  # an option that was just read decides which widgets follow
        if widget.optional and buttons:  # of uploads, after all required widgets
            next(rest, None)
            buttons = 0
        buttons = buttons or int(widget.uploads)
        value = next(rest, widget.default)
        values[widget.name] = {"__value__": value} if isinstance(value, list) else value
        for _ in range(widget.companions):
            next(rest, None)
    return values


def _source(place: Place | None, nodes: Mapping[str, Node], links: Links) -> list[Any] | Any | None:
    """What comes over a link: [node, output], a primitive's value, or None where it comes from nothing."""
    if place is None:
        return None
    node = nodes[place[0]]
    if node["type"] == PRIMITIVE:
        return (node.get("widgets_values") or [None])[0]
    if node.get("mode", 0) == MUTED:
        return None
    if node["type"] != REROUTE and node.get("mode", 0) != BYPASSED:
        return list(place)
    through = _passed_through(node, place[1])
    return None if through is None else _source(links[through], nodes, links)


def _passed_through(node: Node, output: int) -> str | None:
    """The link that an output of a reroute or bypassed node stands for: of its place, else the first of its type."""
    sockets = list(node.get("inputs") or ())
    if node["type"] == REROUTE:
        fitting = sockets[:1]
    else:
        kind = node["outputs"][output]["type"]
        fitting = [socket for socket in [*sockets[output : output + 1], *sockets] if socket["type"] == kind]
    return next((socket["link"] for socket in fitting if socket.get("link") is not None), None)
