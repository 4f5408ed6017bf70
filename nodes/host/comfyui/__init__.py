"""The ComfyUI side of the seam: the only package that imports ComfyUI (comfyui_host.md section 1)."""

from __future__ import annotations

from typing import Any


def comfyui_extension() -> Any:
    """The `ComfyExtension` with all nodes of the registry; called once, by the package's `comfy_entrypoint`."""
    # Both inside: node modules import this package's `runtime`, so the package itself must come up without them.
    from ...registry import NODES
    from .extension import OpenLTXExtension

    return OpenLTXExtension(list(NODES))
