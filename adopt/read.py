"""A file → the graph in it: a workflow in UI or API format, or a media file that carries one."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from ..media.texts import read_texts
from .api_file import read_api
from .graph import Found
from .ui_file import read_ui

HALF = re.compile(r"\\u[dD][89a-fA-F]")


def read_file(path: Path) -> Found:
    """Raises ValueError, one line, for a file without any workflow."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file; give a workflow, or a saved picture, sound or clip that carries one")
    if path.suffix.lower() == ".json":
        return read_workflow(_parsed(path.read_bytes(), str(path)), str(path))
    texts = read_texts(path)
    for name in ("prompt", "workflow"):  # the prompt is what ran: flat, values by name
        found = _or_none(texts.get(name))
        if isinstance(found, dict) and found:
            return read_workflow(found, f"{path}: its {name}")
    raise ValueError(f"{path}: expected a file with a workflow in its metadata, found none; save it from ComfyUI again")


def read_workflow(found: Any, name: str) -> Found:
    """A parsed workflow in either format. Raises ValueError, one line, for something else."""
    if isinstance(found, dict) and isinstance(found.get("prompt"), dict) and "nodes" not in found:
        found = found["prompt"]  # as it is sent to a server
    if isinstance(found, dict) and isinstance(found.get("nodes"), list):
        return read_ui(found)
    if isinstance(found, dict) and any(isinstance(node, dict) and "class_type" in node for node in found.values()):
        return read_api(found)
    raise ValueError(f"{name}: expected a workflow of ComfyUI (UI or API format), found something else")


def _parsed(data: bytes, name: str) -> Any:
    try:
        return _loaded(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # JSON and UTF-8 errors
        raise ValueError(f"{name}: expected JSON: {error}") from error


def _or_none(text: str | None) -> Any:
    try:
        return _loaded(text or "null")
    except (ValueError, RecursionError):
        return None


def _loaded(text: str) -> Any:
    """What no file may hold is none: NaN and infinities (Python writes them), halves of a character."""
    found = json.loads(text, parse_constant=lambda _: None, parse_float=_number)
    return _whole(found) if HALF.search(text) else found


def _number(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {_whole(name): _whole(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_whole(one) for one in value]
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else value
