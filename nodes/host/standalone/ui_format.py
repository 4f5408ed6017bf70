"""API format → UI format: what ComfyUI's template browser shows (comfyui_host.md sections 7.1 and 7.3).

By rule from the schemas: needs neither ComfyUI nor a browser, and gives the same file every time. Where nodes stand
is in ui_layout.py; seeds are fixed.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import io
from .inputs import Link, Slot, link_of, unfold
from .schema import Registry, schema_of
from .ui_layout import COLUMN, MARGIN, WIDTH, layout
from .validate import Prompt, title_of

WIDGET_TYPES = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3")
SEEDS = ("seed", "noise_seed")
HEADER, SLOT_HEIGHT, PICTURE, NOTE_HEIGHT = 60, 26, 220, 260  # pixels
NAMESPACE = uuid.UUID("6d2f6a3e-6a0e-4b53-9f0e-0f6f3a1c2b11")  # of ids that are made from names
PACK, CORE = "openltx", "comfy-core"  # ids in the node registry
OWN_PREFIX = "OpenLTX"  # of our node ids


@dataclass(frozen=True, kw_only=True)
class _Wire:
    """One link of the graph, with the number that it has in the file."""

    number: int
    source: Link
    target: str
    slot: int  # among the sockets of the target
    io_type: str

    def row(self) -> list[Any]:
        return [self.number, int(self.source.node_id), self.source.index, int(self.target), self.slot, self.io_type]


class _Numbers:
    """Of links: incoming by node and socket, outgoing by output."""

    def __init__(self, wires: list[_Wire]) -> None:
        self.incoming: dict[str, dict[int, int]] = {}
        self.outgoing: dict[Link, list[int]] = {}
        for wire in wires:
            self.incoming.setdefault(wire.target, {})[wire.slot] = wire.number
            self.outgoing.setdefault(wire.source, []).append(wire.number)


def ui_workflow(
    prompt: Prompt,
    registry: Registry,
    *,
    name: str,
    models: Mapping[str, Mapping[str, str]] | None = None,
    note: str | None = None,
) -> dict[str, Any]:
    """`prompt` in UI format 0.4. All its nodes must be of the registry, and their ids whole numbers.

    name: what the workflow's own id is made from; models: {"name", "url", "directory"} of files that can be fetched, by
    their names; note: text in Markdown that stands left of the graph.
    """
    slots = {node_id: _slots(entry, registry) for node_id, entry in prompt.items()}
    wires = _wires(prompt, slots, registry)
    numbers = _Numbers(wires)
    heights = {
        node_id: _height(entry, slots[node_id], len(schema_of(registry[entry["class_type"]]).outputs))
        for node_id, entry in prompt.items()
    }
    stands = layout(prompt, registry, heights, left=MARGIN + (0 if note is None else COLUMN))
    last = max((int(node_id) for node_id in prompt), default=0)
    notes = [] if note is None else [_note(note, last + 1, len(prompt))]
    return {
        "id": str(uuid.uuid5(NAMESPACE, name)),
        "revision": 0,
        "last_node_id": last + len(notes),
        "last_link_id": len(wires),
        "nodes": [
            *(
                _with_models(_node(node_id, entry, order, registry, slots[node_id], numbers, size), models or {})
                for order, (node_id, entry) in enumerate(prompt.items())
                for size in [(*stands.places[node_id], heights[node_id])]
            ),
            *notes,
        ],
        "links": [wire.row() for wire in wires],
        "groups": stands.groups,
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def _slots(entry: Mapping[str, Any], registry: Registry) -> list[Slot]:
    """The node's inputs in the order of the interface: required ones, then optional ones.

    Of sockets that multiply as they are used, those in use.
    """
    found = unfold(schema_of(registry[entry["class_type"]]).inputs, entry["inputs"]).slots
    shown = (slot for slot in found if slot.required or slot.given.optional or slot.name in entry["inputs"])
    return sorted(shown, key=lambda slot: slot.given.optional)


def _is_widget(given: io.BaseInput) -> bool:
    return given.io_type in WIDGET_TYPES and not getattr(given, "force_input", None)


def _sockets(entry: Mapping[str, Any], slots: list[Slot]) -> list[Slot]:
    """Inputs that the file shows as sockets: pure ones, and widgets that are linked."""
    return [slot for slot in slots if not _is_widget(slot.given) or link_of(entry["inputs"].get(slot.name)) is not None]


def _wires(prompt: Prompt, slots: Mapping[str, list[Slot]], registry: Registry) -> list[_Wire]:
    wires: list[_Wire] = []
    for node_id, entry in prompt.items():
        for index, slot in enumerate(_sockets(entry, slots[node_id])):
            source = link_of(entry["inputs"].get(slot.name))
            if source is not None:
                io_type = schema_of(registry[prompt[source.node_id]["class_type"]]).outputs[source.index].io_type
                wires.append(_Wire(number=len(wires) + 1, source=source, target=node_id, slot=index, io_type=io_type))
    return wires


def _node(
    node_id: str,
    entry: Mapping[str, Any],
    order: int,
    registry: Registry,
    slots: list[Slot],
    numbers: _Numbers,
    place: tuple[int, int, int],
) -> dict[str, Any]:
    """place: left, top, height."""
    schema = schema_of(registry[entry["class_type"]])
    incoming = numbers.incoming.get(node_id, {})
    sockets = _sockets(entry, slots)
    node = {
        "id": int(node_id),
        "type": schema.node_id,
        "pos": list(place[:2]),
        "size": [WIDTH, place[2]],
        "flags": {},
        "order": order,
        "mode": 0,
        "inputs": [_input(slot, incoming.get(index)) for index, slot in enumerate(sockets)],
        "outputs": [
            {
                "name": output.display_name or output.id or output.io_type,
                "type": output.io_type,
                "links": numbers.outgoing.get(Link(node_id=node_id, index=index), []),
            }
            for index, output in enumerate(schema.outputs)
        ],
        "properties": {"Node name for S&R": schema.node_id, "cnr_id": _pack(schema.node_id)},
        "widgets_values": _widget_values(entry, slots),
    }
    title = title_of(entry)
    return node if title is None else {**node, "title": title}


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


def _with_models(node: dict[str, Any], models: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Says of each file that the node names where to get it: the interface offers to."""
    named = [dict(models[value]) for value in node["widgets_values"] if isinstance(value, str) and value in models]
    return {**node, "properties": {**node["properties"], "models": named}} if named else node


def _input(slot: Slot, link: int | None) -> dict[str, Any]:
    socket: dict[str, Any] = {"name": slot.name, "type": slot.given.io_type, "link": link}
    if _is_widget(slot.given):
        socket["widget"] = {"name": slot.name}
    return socket | ({"shape": 7} if slot.given.optional else {})


def _pack(node_id: str) -> str:
    return PACK if node_id.startswith(OWN_PREFIX) else CORE


def _widget_values(entry: Mapping[str, Any], slots: list[Slot]) -> list[Any]:
    """One value a widget, linked ones too; after a seed what happens to it after a run.

    The button of an upload, which the interface puts after the required widgets, has one as well.
    """
    values: list[Any] = []
    widgets = [slot for slot in slots if _is_widget(slot.given)]
    for place, slot in enumerate(widgets):
        raw = entry["inputs"].get(slot.name)
        values.append(_default(slot.given) if raw is None or link_of(raw) is not None else raw)
        if getattr(slot.given, "control_after_generate", None) or slot.given.id in SEEDS:
            values.append("fixed")
        last = not slot.given.optional and all(after.given.optional for after in widgets[place + 1 :])
        if last and any(getattr(shown.given, "upload", None) for shown in widgets):
            values.append("image")
    return values


def _default(given: io.BaseInput) -> Any:
    options = getattr(given, "options", None)
    default = getattr(given, "default", None)
    return getattr(options[0], "key", options[0]) if default is None and options else default


def _height(entry: Mapping[str, Any], slots: list[Slot], outputs: int) -> int:
    widgets = sum(_is_widget(slot.given) for slot in slots)
    shows = any(getattr(slot.given, "upload", None) for slot in slots)  # what was chosen, below the widgets
    return HEADER + SLOT_HEIGHT * (max(len(_sockets(entry, slots)), outputs) + widgets) + PICTURE * shows
