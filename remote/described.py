"""The inputs of a node as a server's /object_info describes them, other packs' nodes too (comfyui_host.md 7.3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..nodes.host.standalone.inputs import CONVERTERS
from ..nodes.host.standalone.ui_blocks import SEEDS


@dataclass(frozen=True, kw_only=True)
class Widget:
    """An input that a value can be typed into. `options`: what it chooses from; `extra`: the words of its schema."""

    name: str
    io_type: str
    options: tuple[Any, ...] | None
    extra: Mapping[str, Any]
    optional: bool

    @property
    def uploads(self) -> bool:
        """Whether it names a file of the server's input folder."""
        return any(word.endswith("_upload") and on for word, on in self.extra.items())

    @property
    def companions(self) -> int:
        """Values that stand after its own in a UI file: what becomes of a seed.

        The button of an upload has one too, after all required widgets.
        """
        seed = self.io_type == "INT" and self.name.split(".")[-1] in SEEDS
        return int(bool(self.extra.get("control_after_generate")) or seed)

    @property
    def default(self) -> Any:
        """The value of a new node."""
        return self.extra.get("default", self.options[0] if self.options else None)


def walk(entry: Mapping[str, Any], chosen: Mapping[str, Any]) -> Iterator[Widget]:
    """The widgets of a node type in the order of the interface.

    `chosen` says which option of a DynamicCombo is on; it is asked after that widget was given out.
    """
    groups = entry.get("input", {})
    for group in ("required", "optional"):
        yield from _walk({group: groups.get(group, {})}, "", chosen, optional=group == "optional")


def _walk(groups: Mapping[str, Any], parent: str, chosen: Mapping[str, Any], *, optional: bool) -> Iterator[Widget]:
    for group in ("required", "optional"):
        for short, row in groups.get(group, {}).items():
            name, kind, extra = parent + short, row[0], (row[1] if len(row) > 1 else {})
            if isinstance(kind, list):  # a combo of the older node API
                yield Widget(name=name, io_type="COMBO", options=tuple(kind), extra=extra, optional=optional)
            elif kind == "COMFY_DYNAMICCOMBO_V3":
                keys = tuple(option["key"] for option in extra["options"])
                yield Widget(name=name, io_type="COMBO", options=keys, extra={}, optional=optional)
                for option in extra["options"]:
                    if option["key"] == chosen.get(name):
                        yield from _walk(option["inputs"], f"{name}.", chosen, optional=optional)
            elif kind == "COMBO":
                yield Widget(
                    name=name, io_type=kind, options=tuple(extra.get("options") or ()), extra=extra, optional=optional
                )
            elif kind in CONVERTERS and not extra.get("forceInput"):
                yield Widget(name=name, io_type=kind, options=None, extra=extra, optional=optional)
            elif kind.split(",")[0] in CONVERTERS and extra.get("widgetType"):
                yield Widget(name=name, io_type=extra["widgetType"], options=None, extra=extra, optional=optional)
