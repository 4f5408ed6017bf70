"""What ComfyUI registers."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import ComfyExtension

from .translate import translated


class OpenLTXExtension(ComfyExtension):  # type: ignore[misc]  # ComfyUI is absent when types are checked
    """All nodes of the package, with ComfyUI's objects on their wires."""

    def __init__(self, nodes: list[type[Any]]) -> None:
        self.nodes = [translated(node) for node in nodes]

    async def get_node_list(self) -> list[type[Any]]:
        """Node classes; ComfyUI validates and registers them one by one."""
        return self.nodes
