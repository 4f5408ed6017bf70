"""API format → UI format: what ComfyUI's template browser shows (comfyui_host.md sections 7.1 and 7.3).

By rule from the schemas, the same file every time. Where blocks stand is in ui_layout.py, what is a block of its own
and what stands in a stage in ui_stages.py; seeds are fixed.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from .schema import Registry
from .ui_blocks import Block, Socket
from .ui_layout import COLUMN, MARGIN, WIDTH, columns, layout
from .ui_stages import BORDER, Canvas, Wire, canvas_of
from .validate import Prompt

NOTE_HEIGHT, BORDER_WIDTH, BORDER_ROW = 260, 160, 20  # pixels
NAMESPACE = uuid.UUID("6d2f6a3e-6a0e-4b53-9f0e-0f6f3a1c2b11")  # of ids that are made from names
Models = Mapping[str, Mapping[str, str]]


def ui_workflow(
    prompt: Prompt, registry: Registry, *, name: str, models: Models | None = None, note: str | None = None
) -> dict[str, Any]:
    """`prompt` in UI format 0.4. All its nodes must be of the registry, and their ids whole numbers, with `:` between.

    name: what the workflow's own id is made from; models: {"name", "url", "directory"} of files that can be fetched, by
    their names; note: text in Markdown that stands left of the graph.
    """
    canvas = canvas_of(prompt, registry)
    stages = list(canvas.everything())
    ids = {stage.path: str(uuid.uuid5(NAMESPACE, f"{name}/{stage.path}")) for stage in stages}
    stands = layout(canvas.blocks, _before(canvas), left=MARGIN + (0 if note is None else COLUMN))
    last = max((int(part) for node_id in prompt for part in node_id.split(":")), default=0)
    notes = [] if note is None else [_note(note, last + 1, len(canvas.blocks))]
    nodes = _nodes(canvas, stands.places, ids, models or {})
    definitions = [_definition(stage, ids, models or {}, last + len(notes)) for stage in stages]
    return {
        "id": str(uuid.uuid5(NAMESPACE, name)),
        "revision": 0,
        "last_node_id": last + len(notes),
        "last_link_id": len(canvas.wires),
        "nodes": [*nodes, *notes],
        "links": [_row(number, wire) for number, wire in enumerate(canvas.wires, start=1)],
        "groups": stands.groups,
        **({"definitions": {"subgraphs": definitions}} if definitions else {}),
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def _before(canvas: Canvas) -> dict[str, list[str]]:
    """What each block takes from on its own canvas."""
    found: dict[str, list[str]] = {block_id: [] for block_id in canvas.blocks}
    for wire in canvas.wires:
        if wire.origin is not None and wire.target is not None:
            found[wire.target].append(wire.origin)
    return found


def _number(block_id: str | None, border: int) -> int:
    return border if block_id is None else int(block_id.split(":")[-1])


def _row(number: int, wire: Wire) -> list[Any]:
    """A link of the top canvas."""
    return [number, _number(wire.origin, 0), wire.output, _number(wire.target, 0), wire.input, wire.io_type]


# nodes


def _nodes(
    canvas: Canvas, places: Mapping[str, tuple[int, int]], ids: Mapping[str, str], models: Models
) -> list[dict[str, Any]]:
    numbers = _Numbers(canvas.wires)
    return [
        _with_models(_node(block, order, places[block.id], numbers, ids), models)
        for order, block in enumerate(canvas.blocks.values())
    ]


class _Numbers:
    """Of the links on a canvas: incoming by block and input, outgoing by block and output."""

    def __init__(self, wires: Iterable[Wire]) -> None:
        self.incoming: dict[str | None, dict[int, int]] = {}
        self.outgoing: dict[tuple[str | None, int], list[int]] = {}
        for number, wire in enumerate(wires, start=1):
            self.incoming.setdefault(wire.target, {})[wire.input] = number
            self.outgoing.setdefault((wire.origin, wire.output), []).append(number)


def _node(
    block: Block, order: int, place: tuple[int, int], numbers: _Numbers, ids: Mapping[str, str]
) -> dict[str, Any]:
    incoming = numbers.incoming.get(block.id, {})
    node = {
        "id": _number(block.id, 0),
        "type": ids.get(block.id, block.type),
        "pos": list(place),
        "size": [WIDTH, block.height],
        "flags": {},
        "order": order,
        "mode": 0,
        "inputs": [_input(socket, incoming.get(index)) for index, socket in enumerate(block.sockets)],
        "outputs": [
            {
                "name": output.name,
                "type": output.io_type,
                "links": numbers.outgoing.get((block.id, index), []),
            }
            for index, output in enumerate(block.outputs)
        ],
        "properties": dict(block.properties),
        "widgets_values": list(block.values),
    }
    return node if block.title is None else {**node, "title": block.title}


def _input(socket: Socket, link: int | None) -> dict[str, Any]:
    found: dict[str, Any] = {"name": socket.name, "type": socket.io_type, "link": link}
    if socket.widget:
        found["widget"] = {"name": socket.name}
    if socket.label is not None:
        found["label"] = socket.label
    return found | ({"shape": 7} if socket.optional else {})


def _note(text: str, number: int, order: int) -> dict[str, Any]:
    """A node that the front end alone knows."""
    return {
        "id": number,
        "type": "MarkdownNote",
        "pos": [MARGIN, MARGIN],
        "size": [WIDTH, NOTE_HEIGHT],
        "flags": {},
        "order": order,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "title": "About",
        "properties": {},
        "widgets_values": [text],
    }


def _with_models(node: dict[str, Any], models: Models) -> dict[str, Any]:
    """Says of each file that the node names where to get it: the interface offers to."""
    named = [dict(models[value]) for value in node["widgets_values"] if isinstance(value, str) and value in models]
    return {**node, "properties": {**node["properties"], "models": named}} if named else node


# stages


def _definition(stage: Canvas, ids: Mapping[str, str], models: Models, last: int) -> dict[str, Any]:
    """A stage's canvas, as ComfyUI calls it: a subgraph. last: the highest node number of the whole file."""
    places = columns(stage.blocks, _before(stage))
    right = max(left for left, _ in places.values()) + COLUMN
    return {
        "id": ids[stage.path],
        "version": 1,
        "state": {"lastGroupId": 0, "lastNodeId": last, "lastLinkId": len(stage.wires), "lastRerouteId": 0},
        "revision": 0,
        "config": {},
        "name": stage.name,
        "inputNode": _border(BORDER[0], MARGIN - COLUMN // 2 - BORDER_WIDTH // 2, len(stage.inputs)),
        "outputNode": _border(BORDER[1], right, len(stage.outputs)),
        "inputs": [
            _slot(stage, "in", place, socket.name, socket.io_type, socket.label)
            for place, socket in enumerate(stage.inputs)
        ],
        "outputs": [
            _slot(stage, "out", place, output.name, output.io_type, None)
            for place, (output, _) in enumerate(stage.outputs)
        ],
        "widgets": [],
        "nodes": _nodes(stage, places, ids, models),
        "groups": [],
        "links": [_link(number, wire) for number, wire in enumerate(stage.wires, start=1)],
        "extra": {},
    }


def _border(number: int, left: int, rows: int) -> dict[str, Any]:
    return {"id": number, "bounding": [left, MARGIN, BORDER_WIDTH, BORDER_ROW * (rows + 2)]}


def _slot(stage: Canvas, side: str, place: int, name: str, io_type: str, label: str | None) -> dict[str, Any]:
    """One input or output of a stage's canvas, with its links there."""
    ends = [(wire.origin, wire.output) if side == "in" else (wire.target, wire.input) for wire in stage.wires]
    slot = {
        "id": str(uuid.uuid5(NAMESPACE, f"{stage.path}/{side}/{name}")),
        "name": name,
        "type": io_type,
        "linkIds": [number for number, end in enumerate(ends, start=1) if end == (None, place)],
    }
    return slot if label is None else {**slot, "label": label}


def _link(number: int, wire: Wire) -> dict[str, Any]:
    return {
        "id": number,
        "origin_id": _number(wire.origin, BORDER[0]),
        "origin_slot": wire.output,
        "target_id": _number(wire.target, BORDER[1]),
        "target_slot": wire.input,
        "type": wire.io_type,
    }
