"""Masks over the grid: inpainting, outpainting, retakes (spec conditioning.md section 5)."""

# b batch, n pixel frames; f h w latent frames, rows, columns; t p q pixel frames, rows, columns of a cell
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from einops import rearrange, reduce, repeat
from torch import Tensor

from ..state import StreamState, VideoLayout
from .append import as_batch, check_strength, video_content, video_layout

Reduction = Literal["max", "mean", "min"]


@dataclass(frozen=True, kw_only=True, eq=False)
class InpaintMask:
    """Keeps part of `source` (1 or B, C, F, H, W): where `keep` (1 or B, F, H, W) is 1; 0 is generated.

    Values between mix linearly. strength: 1 keeps the kept part exactly.
    """

    source: Tensor
    keep: Tensor
    strength: float = 1.0

    def apply(self, state: StreamState) -> StreamState:
        check_strength("inpaint mask", self.strength)
        layout = video_layout("inpaint mask", state)
        batch, grid = len(state.latent), layout.grid
        if self.keep.ndim != 4 or tuple(self.keep.shape[1:]) != tuple(grid) or len(self.keep) not in (1, batch):
            raise ValueError(
                f"inpaint mask: expected {tuple(grid)} cells (frames, height, width) for this clip, found "
                f"{tuple(self.keep.shape[1:])}; make it for the size of this clip"
            )
        _check_unit("inpaint mask", self.keep)
        content = as_batch(video_content("inpaint source", self.source, state, frames=grid.frames), state)
        keep = rearrange(self.keep.to(state.mask), "b f h w -> b (f h w) 1")
        clean, mask, n = state.clean.clone(), state.mask.clone(), grid.tokens
        clean[:, :n] = (clean[:, :n] * (1 - keep) + content * keep).to(clean)
        mask[:, :n] = mask[:, :n] * (1 - keep) + (1 - self.strength) * keep
        return replace(state, clean=clean, mask=mask)


@dataclass(frozen=True, kw_only=True)
class TemporalRegions:
    """Retake: only tokens that touch one of the `regions` [start, end), in seconds, are generated again.

    For the video or the audio stream, whose start latent is the encoded source. It overwrites the whole mask, so that
    it comes before all other items of its stream. A video token is 8 frames long, the first one 1 frame.
    """

    regions: tuple[tuple[float, float], ...]

    def apply(self, state: StreamState) -> StreamState:
        if state.latent.shape[1] != state.grid_tokens:
            raise ValueError("retake: it overwrites the mask of keyframes and references; put it before them")
        if not self.regions:
            raise ValueError("retake: expected at least one region, found none; give its start and end in seconds")
        start, end = state.positions[:, 0, :, 0], state.positions[:, 0, :, 1]
        touched = torch.zeros_like(start, dtype=torch.bool)
        for first, last in self.regions:
            region = (end > first) & (start < last)
            if not first < last or not bool(region.any()):
                raise ValueError(
                    f"retake: expected a region within the clip (0 to {float(end.max()):.3f} s), found {first:g} to "
                    f"{last:g} s; move it"
                )
            touched |= region
        return replace(state, mask=touched[..., None].to(state.mask).expand_as(state.mask))


def cell_mask(mask: Tensor, layout: VideoLayout, *, reduction: Reduction = "max") -> Tensor:
    """A pixel mask as one value a latent cell, (b, F, H, W): the max, mean or min over the cell's pixels and frames.

    mask (b, n, height, width) in [0, 1] at the clip's pixel size; n: the clip's frames, or 1 for all of them alike.
    Cells cover one frame first and 8 frames after it. Raises ValueError for a mask of another size.
    """
    space, time = layout.scale.space, layout.scale.time
    height, width = layout.grid.height * space, layout.grid.width * space
    if mask.ndim != 4 or mask.shape[1] not in (1, layout.frames) or tuple(mask.shape[2:]) != (height, width):
        raise ValueError(
            f"mask: expected {layout.frames} frames (or 1) of {width}x{height} pixels, found shape "
            f"{tuple(mask.shape)}; resize it to the clip"
        )
    _check_unit("mask", mask)
    cells = reduce(mask, "b n (h p) (w q) -> b n h w", reduction, p=space, q=space)
    if mask.shape[1] != layout.frames:
        return repeat(cells, "b 1 h w -> b f h w", f=layout.grid.frames)
    later = reduce(cells[:, 1:], "b (f t) h w -> b f h w", reduction, t=time)
    return torch.cat([cells[:, :1], later], dim=1)


def _check_unit(name: str, mask: Tensor) -> None:
    if not bool(((mask >= 0) & (mask <= 1)).all()):
        low, high = float(mask.min()), float(mask.max())
        raise ValueError(f"{name}: expected values from 0 to 1, found {low:g} to {high:g}")
