"""What a model's file is, for keys."""

from __future__ import annotations

from typing import Any

from ...model_loaders.parts import Part
from ..manifest import fingerprint


def part_identity(part: Part | None) -> Any:
    """By samples of its contents, as in the run manifest."""
    return None if part is None else fingerprint(part.path)
