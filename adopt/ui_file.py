"""UI format → graph: subgraphs flattened; reroutes, primitives, get and set nodes, muted and bypassed nodes resolved.

Any front end from file version 0.4 on (comfyui_host.md 7.1). What is broken costs a remark, never the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .graph import Found, Node, Wire
from .scopes import Const, Scope, is_virtual, list_of, mode_of, scopes_of, source_of
from .table import rows
from .widgets import own_rows, widgets_of

MUTED, BYPASSED = 2, 4


def read_ui(found: Mapping[str, Any]) -> Found:
    """The graph of a parsed UI file."""
    result = Found(graph={}, form="UI")
    for scope in scopes_of(found, result.remarks):  # all of them, before any link is followed into one
        for entry in scope.nodes.values():
            if not is_virtual(entry, scope):
                _add(scope, entry, result)
    return result


def _add(scope: Scope, entry: Mapping[str, Any], result: Found) -> None:
    node = _node(scope, entry)
    mode = mode_of(entry)
    if mode in (MUTED, BYPASSED):
        result.remarks.append(f"{node.name}: {'muted' if mode == MUTED else 'bypassed'} in the file; left out")
        return
    for socket in list_of(entry, "inputs"):
        name, link = socket.get("name"), socket.get("link")
        if not isinstance(name, str) or link is None:
            continue
        node.types[name] = str(socket.get("type", "*"))
        source = source_of(scope, link)
        if isinstance(source, Wire):
            node.inputs[name] = source
        elif isinstance(source, Const):
            if source.known:
                node.inputs[name] = source.value
        elif source:
            result.remarks.append(f"{node.name}: its input {name} {source}; left open")
    result.graph[node.id] = node


def _node(scope: Scope, entry: Mapping[str, Any]) -> Node:
    title = entry.get("title")
    kind = str(entry.get("type"))
    widgets = widgets_of(entry, rows().get(kind) or own_rows().get(kind))
    return Node(
        id=scope.global_id(entry["id"]),
        type=kind,
        title=title if isinstance(title, str) else None,
        inputs=widgets.named | scope.overrides(entry["id"]),
        types=dict(_widget_types(entry)),
        outputs=tuple((str(one.get("name", "")), str(one.get("type", "*"))) for one in list_of(entry, "outputs")),
        unnamed=widgets.unnamed,
        raw=entry,
    )


def _widget_types(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for socket in list_of(entry, "inputs"):
        if isinstance(socket.get("name"), str):
            yield socket["name"], str(socket.get("type", "*"))
