"""What a latent upscaler is built from, and the size of what it returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GROUPS = 32  # of every group norm

Resampler = Literal["spatial", "rational", "temporal", "spatiotemporal"]
# (up, down) of a published spatial scale
RATIOS: dict[float, tuple[int, int]] = {0.75: (3, 4), 1.5: (3, 2), 2.0: (2, 1), 4.0: (4, 1)}
FIXED_RATIOS: dict[Resampler, tuple[int, int]] = {"spatial": (2, 1), "temporal": (1, 1), "spatiotemporal": (2, 1)}


@dataclass(frozen=True, kw_only=True)
class LatentUpscalerConfig:
    """Spec page latent_upscaler, section 2.

    ratio: (up, down), the factor of height and width; only `rational` has a choice. dims: 3, or 2 for a network that
    sees single frames (no published file).
    Raises ValueError, by name, for values that are unknown or do not go together.
    """

    in_channels: int
    mid_channels: int
    num_blocks_per_stage: int
    dims: int
    resampler: Resampler
    ratio: tuple[int, int]

    def __post_init__(self) -> None:
        for name in ("in_channels", "mid_channels", "num_blocks_per_stage"):
            self._expect(name, getattr(self, name) > 0, "a positive number")
        self._expect("mid_channels", self.mid_channels % GROUPS == 0, f"a multiple of {GROUPS}")
        self._expect("dims", self.dims in (2, 3), "2 or 3")
        self._expect("dims", self.dims == 3 or not self.doubles_frames, "3 where frames are doubled")
        allowed = RATIOS.values() if self.resampler == "rational" else (FIXED_RATIOS[self.resampler],)
        self._expect("ratio", self.ratio in allowed, f"{', '.join(map(str, allowed))} for {self.resampler}")

    @property
    def doubles_frames(self) -> bool:
        """F latent frames become 2F - 1, to be played at twice the frame rate."""
        return self.resampler in ("temporal", "spatiotemporal")

    def output_size(self, frames: int, height: int, width: int) -> tuple[int, int, int]:
        """(frames, height, width) of the result, in latent frames and cells (section 5); x1.5 rounds odd sizes up."""
        frames = 2 * frames - 1 if self.doubles_frames else frames
        return frames, resampled(height, self.ratio), resampled(width, self.ratio)

    def _expect(self, name: str, good: bool, expected: str) -> None:
        if not good:
            raise ValueError(f"latent upscaler: {name} must be {expected}, found {getattr(self, name)!r}")


def resampled(cells: int, ratio: tuple[int, int]) -> int:
    """Cells of one side of a latent after a resampling by (up, down): every `down`-th of up*cells, the first kept."""
    up, down = ratio
    return (up * cells - 1) // down + 1
