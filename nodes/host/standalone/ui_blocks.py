"""Nodes of a UI file, each seen as a block: sockets, outputs and widget values by rule from its schema.

Needs neither ComfyUI nor a browser (comfyui_host.md section 7.3).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from . import io
from .inputs import Link, Slot, link_of, unfold
from .schema import Registry, schema_of
from .validate import title_of

WIDGET_TYPES = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3")
SEEDS = ("seed", "noise_seed")
HEADER, SLOT_HEIGHT, PICTURE = 60, 26, 220  # pixels
PACK, CORE = "openltx", "comfy-core"  # ids in the node registry
OWN_PREFIX = "OpenLTX"  # of our node ids


@dataclass(frozen=True, kw_only=True)
class Socket:
    """An input; widgets have a socket too. shown: the stage around the node has this widget on its own block."""

    name: str
    io_type: str
    widget: bool
    optional: bool
    source: Link | None = None
    shown: bool = False
    label: str | None = None


@dataclass(frozen=True, kw_only=True)
class Output:
    name: str
    io_type: str


@dataclass(frozen=True, kw_only=True)
class Block:
    """One node of a canvas: a node of the graph, or one that stands for a stage of several.

    category: of the menu, which says where it stands; values: of its widgets, in their order; height: in pixels.
    """

    id: str
    type: str
    title: str | None
    category: str
    sockets: tuple[Socket, ...]
    outputs: tuple[Output, ...]
    values: tuple[Any, ...]
    properties: Mapping[str, Any]
    height: int

    @property
    def sources(self) -> list[Link]:
        return [socket.source for socket in self.sockets if socket.source is not None]


def block_of(node_id: str, entry: Mapping[str, Any], registry: Registry, shown: Collection[str]) -> Block:
    """shown: inputs that the stage around the node has as its own."""
    schema = schema_of(registry[entry["class_type"]])
    slots = _slots(schema, entry)
    sockets = tuple(_socket(slot, entry, shown) for slot in slots)
    pictures = any(getattr(slot.given, "upload", None) for slot in slots)  # what was chosen, below the widgets
    return Block(
        id=node_id,
        type=schema.node_id,
        title=title_of(entry),
        category=schema.category,
        sockets=sockets,
        outputs=tuple(
            Output(name=out.display_name or out.id or out.io_type, io_type=out.io_type) for out in schema.outputs
        ),
        values=tuple(_widget_values(entry, slots)),
        properties={"Node name for S&R": schema.node_id, "cnr_id": _pack(schema.node_id)},
        height=height_of(sockets, len(schema.outputs)) + PICTURE * pictures,
    )


def height_of(sockets: Collection[Socket], outputs: int) -> int:
    """In pixels: sockets beside outputs, then the widgets."""
    widgets = sum(socket.widget for socket in sockets)
    return HEADER + SLOT_HEIGHT * (max(len(sockets) - widgets, outputs) + widgets)


def _slots(schema: io.Schema, entry: Mapping[str, Any]) -> list[Slot]:
    """The node's inputs in the order of the interface: required ones, then optional ones.

    Of sockets that multiply as they are used, those in use.
    """
    found = unfold(schema.inputs, entry["inputs"]).slots
    shown = (slot for slot in found if slot.required or slot.given.optional or slot.name in entry["inputs"])
    return sorted(shown, key=lambda slot: slot.given.optional)


def _socket(slot: Slot, entry: Mapping[str, Any], shown: Collection[str]) -> Socket:
    return Socket(
        name=slot.name,
        io_type=slot.given.io_type,
        widget=_is_widget(slot.given),
        optional=bool(slot.given.optional),
        source=link_of(entry["inputs"].get(slot.name)),
        shown=slot.name in shown,
    )


def _is_widget(given: io.BaseInput) -> bool:
    return given.io_type in WIDGET_TYPES and not getattr(given, "force_input", None)


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
