"""How much of a LoRA goes into which layers (quantization.md section 8.5)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields

BLOCK = re.compile(r"transformer_blocks\.(\d+)\.")
RANGE = re.compile(r"(\d+)(?:-(\d+))?=(-?\d+(?:\.\d*)?)$")


@dataclass(frozen=True, kw_only=True)
class LoraStrengths:
    """By class of layer, and in ranges of blocks (first, last, factor), both ends included; factors multiply."""

    video: float = 1.0
    audio: float = 1.0
    audio_to_video: float = 1.0
    video_to_audio: float = 1.0
    blocks: tuple[tuple[int, int, float], ...] = ()

    def __post_init__(self) -> None:
        numbers = [getattr(self, field.name) for field in fields(self) if field.name != "blocks"]
        if not all(math.isfinite(number) for number in (*numbers, *(factor for _, _, factor in self.blocks))):
            raise ValueError("LoRA strengths: expected finite numbers, found something else; use 0 to leave a part out")

    def of(self, layer: str) -> float:
        """The strength for a layer, by its name without prefix."""
        strength = {
            "audio_to_video": self.audio_to_video,
            "video_to_audio": self.video_to_audio,
            "audio": self.audio,
            "video": self.video,
        }[class_of(layer)]
        block = BLOCK.match(layer)
        for first, last, factor in self.blocks:
            if block is not None and first <= int(block[1]) <= last:
                strength *= factor
        return strength

    def scaled(self, factor: float) -> LoraStrengths:
        """All classes times a factor."""
        return LoraStrengths(
            video=self.video * factor,
            audio=self.audio * factor,
            audio_to_video=self.audio_to_video * factor,
            video_to_audio=self.video_to_audio * factor,
            blocks=self.blocks,
        )


def class_of(layer: str) -> str:
    """`audio_to_video`, `video_to_audio`, `audio` or `video` (everything else)."""
    if "audio_to_video" in layer or "_a2v_" in layer:
        return "audio_to_video"
    if "video_to_audio" in layer or "_v2a_" in layer:
        return "video_to_audio"
    pieces = layer.split(".")
    return "audio" if any(piece.startswith(("audio_", "av_ca_audio")) for piece in pieces) else "video"


def parse_block_ranges(text: str) -> tuple[tuple[int, int, float], ...]:
    """`0-9=0.5, 40-47=0` → ranges. Raises ValueError with the piece that cannot be read."""
    ranges = []
    for piece in filter(None, (piece.strip() for piece in text.split(","))):
        match = RANGE.match(piece)
        if match is None:
            raise ValueError(f"blocks: expected FIRST-LAST=FACTOR, for instance 0-9=0.5, found {piece!r}")
        ranges.append((int(match[1]), int(match[2] or match[1]), float(match[3])))
    return tuple(ranges)
