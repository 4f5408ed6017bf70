"""What a file's name says where nothing inside does: hints for the user's eyes, never the reason of a refusal."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

Training = Literal["dev", "distilled"]
TRAININGS: tuple[Training, ...] = ("dev", "distilled")
GENERATION = re.compile(r"ltx[-_ .]?v?(2)[-_. ]?([35])?(?![0-9])")
WITHDRAWN = {
    995_743_504: "superseded: this is the LTX-2.3 spatial upscaler x2 1.0, use ltx-2.3-spatial-upscaler-x2-1.1"
}
SUPERSEDED_NAMES = {
    "ltx-2.3-22b-distilled.safetensors": "by its name superseded: use ltx-2.3-22b-distilled-1.1",
    "ltx-2.3-22b-distilled-lora-384.safetensors": "by its name superseded: use ltx-2.3-22b-distilled-lora-384-1.1",
    "ltx-2.3-spatial-upscaler-x2-1.0.safetensors": "by its name superseded: use ltx-2.3-spatial-upscaler-x2-1.1",
}


def training_by_name(name: str) -> Training | None:
    """`distilled` or `dev`, as a word of the name; None without either."""
    words = re.split(r"[^a-z]+", name.lower())
    return next((training for training in reversed(TRAININGS) if training in words), None)


def generation_by_name(name: str) -> str | None:
    """ "2", "2.3" or "2.5": `ltx-2.3-22b-…`, `LTX23_video_vae`, `ltx-2-19b-…`; None for other names."""
    found = GENERATION.search(name.lower())
    if found is None:
        return None
    return "2" if found[2] is None else f"2.{found[2]}"


def superseded(path: Path) -> str | None:
    """A word on a file that its publisher replaced, by its exact size or its name; None for any other."""
    return WITHDRAWN.get(path.stat().st_size) or SUPERSEDED_NAMES.get(path.name.lower())
