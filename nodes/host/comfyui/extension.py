"""What ComfyUI registers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from comfy_api.latest import ComfyAPI, ComfyExtension, io

from ..replaced import REPLACED, Replacement
from .translate import translated


class OpenLTXExtension(ComfyExtension):  # type: ignore[misc]  # ComfyUI is absent when types are checked
    """All nodes of the package, with ComfyUI's objects on their wires."""

    def __init__(self, nodes: list[type[Any]], replaced: Iterable[Replacement] = REPLACED) -> None:
        self.nodes = [translated(node) for node in nodes]
        self.replaced = tuple(replaced)

    async def on_load(self) -> None:
        """Tells ComfyUI which ids are new names of old ones; hosts before 0.14 have no place for that."""
        if hasattr(io, "NodeReplace"):
            for entry in self.replaced:
                await ComfyAPI().node_replacement.register(_node_replace(entry))

    async def get_node_list(self) -> list[type[Any]]:
        """Node classes; ComfyUI validates and registers them one by one."""
        return self.nodes


def _node_replace(entry: Replacement) -> Any:
    kept = [{"new_id": new, "old_id": old} for new, old in entry.inputs.items()]
    made = [{"new_id": new, "set_value": value} for new, value in entry.values.items()]
    return io.NodeReplace(
        new_node_id=entry.new,
        old_node_id=entry.old,
        old_widget_ids=list(entry.widgets),
        input_mapping=[*kept, *made],
        output_mapping=[{"new_idx": new, "old_idx": old} for old, new in entry.outputs.items()],
    )
