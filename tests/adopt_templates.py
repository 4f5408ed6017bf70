"""ComfyUI's own templates with LTX nodes: of the package comfyui-workflow-templates, or below OPENLTX_TEMPLATES."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

PACKAGE = "comfyui_workflow_templates_json"
ABSENT = f"{PACKAGE} is not installed (pip install comfyui-workflow-templates) and OPENLTX_TEMPLATES names no folder"
NODE = re.compile(r'"type": ?"[^"]*ltx', re.IGNORECASE)
OLDER = ("ltxv_image_to_video", "ltxv_text_to_video")  # LTX-Video 0.9: another model
OTHERS = ("image_minimax_h3_t2i",)  # another model that borrows one node
SERVICE = "api_"  # the clip comes from a paid service


def folder() -> Path | None:
    if os.environ.get("OPENLTX_TEMPLATES"):
        return Path(os.environ["OPENLTX_TEMPLATES"])
    spec = importlib.util.find_spec(PACKAGE)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / "templates"


def found() -> list[Path]:
    """All with an LTX node, of whatever model."""
    place = folder()
    files = [] if place is None else sorted(place.glob("*.json"))
    return [path for path in files if NODE.search(path.read_text(encoding="utf-8"))]


def of_ltx2() -> list[Path]:
    """Those that make a clip with LTX-2, 2.3 or 2.5 on the user's machine."""
    return [path for path in found() if path.stem not in (*OLDER, *OTHERS) and not path.stem.startswith(SERVICE)]
