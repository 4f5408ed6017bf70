"""Reference video for an IC-LoRA, as appended tokens on a time and space base of its own (spec conditioning.md 4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..shapes import VideoGrid, latent_grid
from ..state import StreamState, VideoLayout
from ..tokens import in_seconds, video_pixel_bounds
from .append import append_tokens, check_strength, video_content, video_layout

NAME = "reference video"
SPACE_KEY, TIME_KEY = "reference_downscale_factor", "reference_temporal_scale_factor"


@dataclass(frozen=True, kw_only=True)
class ReferenceFactors:
    """How many times coarser than the clip a LoRA's reference is, in space and in time."""

    space: int = 1
    time: int = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class ReferenceVideo:
    """A control clip, or any other reference, that the grid attends to.

    latent (1 or B, C, f, H / space, W / space) of the clip from `reference_frames` at `reference_size`; strength: 1
    keeps it exactly (what LoRAs are trained with); attention: how strongly the grid and it see each other, a number
    or token weights from `mask_strength`.
    """

    latent: Tensor
    factors: ReferenceFactors = ReferenceFactors()
    strength: float = 1.0
    attention: float | Tensor = 1.0

    def apply(self, state: StreamState) -> StreamState:
        check_strength(NAME, self.strength)
        layout = video_layout(NAME, state)
        content = video_content(NAME, self.latent, state, ratio=self.factors.space)
        grid = VideoGrid(*self.latent.shape[2:])
        longest = reference_latent_frames(layout, self.factors)
        if grid.frames > longest:
            raise ValueError(
                f"{NAME}: expected at most {longest} latent frames for this clip, found {grid.frames}; cut it to the "
                "clip's length before encoding"
            )
        positions = reference_positions(grid, layout, self.factors, first_end=state.positions[0, 0, 0, 1].cpu())
        return append_tokens(state, content, positions, mask=1 - self.strength, attention=self.attention)


def reference_positions(
    grid: VideoGrid, layout: VideoLayout, factors: ReferenceFactors, *, first_end: Tensor
) -> Tensor:
    """Positions (1, 3, f*h*w, 2) float32 of a reference's own `grid` on the clip's time and space.

    first_end: end of the clip's first token in seconds; with it the last reference frame ends where the clip ends.
    """
    bounds = video_pixel_bounds(grid, scale=layout.scale)
    positions = in_seconds(bounds, layout.fps / factors.time)
    if factors.time != 1:
        positions[:, 0] = (positions[:, 0] - (factors.time - 1) * first_end).clamp(min=0)
    positions[:, 1:] *= factors.space
    return positions


def reference_frames(frames: int, factors: ReferenceFactors) -> Tensor:
    """Indices (int64) of the frames to keep of a reference of `frames`: 0, 1, 1 + S, 1 + 2S, …"""
    if factors.time == 1:
        return torch.arange(frames)
    return torch.cat([torch.zeros(1, dtype=torch.int64), torch.arange(1, frames, factors.time)])


def reference_latent_frames(layout: VideoLayout, factors: ReferenceFactors) -> int:
    """Latent frames of a reference as long as the clip."""
    kept = len(reference_frames(layout.frames, factors))
    return latent_grid(kept, layout.scale.space, layout.scale.space, scale=layout.scale).frames


def reference_size(height: int, width: int, factors: ReferenceFactors) -> tuple[int, int]:
    """Height and width in pixels at which a reference is encoded for a stage of `height` x `width`; must divide."""
    if height % factors.space or width % factors.space:
        raise ValueError(
            f"{NAME}: expected a size in multiples of {factors.space} for this LoRA, found {width}x{height}; "
            "choose another size"
        )
    return height // factors.space, width // factors.space


def reference_factors(metadata: Mapping[str, Mapping[str, str]]) -> ReferenceFactors:
    """The factors that LoRA files ask for; `metadata` by file name.

    A file without them, or with 1, asks for nothing. Raises ValueError where two files ask for different factors.
    """
    return ReferenceFactors(space=_common_factor(metadata, SPACE_KEY), time=_common_factor(metadata, TIME_KEY))


def _common_factor(metadata: Mapping[str, Mapping[str, str]], key: str) -> int:
    asked = {name: _factor(name, key, rows[key]) for name, rows in metadata.items() if key in rows}
    asked = {name: factor for name, factor in asked.items() if factor != 1}
    if len(set(asked.values())) > 1:
        found = ", ".join(f"{factor} in {name}" for name, factor in asked.items())
        raise ValueError(f"{key}: expected one factor in all LoRAs, found {found}; use one of them at a time")
    return next(iter(asked.values()), 1)


def _factor(name: str, key: str, text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise ValueError(f"{name}: {key}: expected a whole number from 1, found {text!r}")
    return int(text)
