"""A file → the graph in it: a workflow in UI or API format, or a media file that carries one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..given_text import parse_json
from ..media.texts import read_texts
from .api_file import read_api
from .graph import Found
from .ui_file import read_ui


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
        return parse_json(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # JSON and UTF-8 errors
        raise ValueError(f"{name}: expected JSON: {error}") from error


def _or_none(text: str | None) -> Any:
    try:
        return parse_json(text or "null")
    except (ValueError, RecursionError):
        return None
