"""`openltx reproduce FILE`: run the workflow that a saved file carries once more, and compare."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .given_text import parse_json


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """same: frames and sound are equal in every bit that the digests see. same_latents: those of every stage are, in
    every bit; None where the old file does not tell. differences: one line for each entry of the run manifests that is
    not the same, `result` left out.
    """

    same: bool
    same_latents: bool | None
    differences: tuple[str, ...]


def reproduce(path: Path, *, models: Sequence[str | os.PathLike[str]] = (), device: str | None = None) -> Reproduction:
    """Run again what made `path`. models, device: as in `openltx.run`.

    Raises ValueError for a file without workflow or manifest, and whatever `openltx.run` raises.
    """
    from .api import run
    from .nodes.manifest import differences
    from .shots.store import empty_cache

    tags = _tags(path)
    missing = [name for name in ("prompt", "openltx") if name not in tags]
    if missing:
        raise ValueError(
            f"{path}: expected the tags 'prompt' and 'openltx', found no {missing[0]!r}; give a file of ours"
        )
    before = _json(path, tags["openltx"])
    with tempfile.TemporaryDirectory(prefix="openltx-") as folder, empty_cache(Path(folder) / "cache"):
        result = run(_json(path, tags["prompt"]), output_folder=folder, models=models, device=device)
        after = _matching(result.files, before)
    lines = differences(_making(before), _making(after))
    old, new = before.get("result", {}), after["result"]
    latents = old.get("latents")
    return Reproduction(
        same=all(old.get(name) == new[name] for name in ("frames", "sound")),
        same_latents=latents == new["latents"] if latents else None,
        differences=tuple(lines),
    )


def _making(manifest: dict[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in manifest.items() if name != "result"}


def _matching(files: Sequence[Path], before: dict[str, Any]) -> dict[str, Any]:
    """The manifest of the new file: of several, one with the old file's digests, else the first."""
    found = [_json(file, tags["openltx"]) for file in files if "openltx" in (tags := _tags(file))]
    if not found:
        raise ValueError("reproduce: expected the run to save a file with a manifest, found none")
    return next((manifest for manifest in found if manifest["result"] == before.get("result")), found[0])


def _tags(path: Path) -> dict[str, str]:
    from .media.texts import read_texts

    return read_texts(path)


def _json(path: Path, text: str) -> dict[str, Any]:
    try:
        content = parse_json(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: expected JSON in its tags, found {text[:40]!r}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected JSON objects in its tags, found {text[:40]!r}")
    return content
