"""OpenLTX: what ComfyUI loads. The entry point and nothing else; no torch, no nodes."""

from __future__ import annotations

from typing import Any

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> Any:
    """ComfyUI's door: chooses the ComfyUI side of the host seam and returns the extension."""
    from .nodes import host

    host.in_comfyui = True  # the only place that decides
    from .model_loaders.collector import uncollected
    from .nodes.host.comfyui import comfyui_extension

    with uncollected():  # a third of the time of these imports was a search through all that ComfyUI holds
        return comfyui_extension()


def __getattr__(name: str) -> Any:
    if name == "run":
        from .api import run

        return run
    if name == "__version__":
        from .api import version

        return version()
    raise AttributeError(f"module 'openltx' has no attribute {name!r}")
