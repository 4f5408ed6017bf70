"""Pixel masks as attention weights of an item's tokens (spec conditioning.md 5.3 and section 6)."""

# b batch, n pixel frames, f h w latent frames, rows, columns, g pixel frames of a later latent frame
from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange, reduce, repeat
from torch import Tensor

from ..shapes import VideoGrid


def mask_strength(mask: Tensor, grid: VideoGrid, strength: float = 1.0) -> Tensor:
    """Weights (b, f*h*w) float32 for an item whose latent has this `grid`: the mask's mean in each cell x strength.

    mask (b, 1, n, height, width) in [0, 1] of any pixel size. Frame 0 goes to latent frame 0, equal groups of the
    others to each later one; a single frame goes to all. Raises ValueError where the frames do not divide.
    """
    if mask.ndim != 5 or mask.shape[1] != 1:
        raise ValueError(f"attention mask: expected shape (B, 1, frames, height, width), found {tuple(mask.shape)}")
    frames = rearrange(mask.float(), "b 1 n h w -> b n h w")
    cells = F.interpolate(frames, size=(grid.height, grid.width), mode="area")
    return rearrange(_over_time(cells, grid.frames), "b f h w -> b (f h w)") * strength


def _over_time(cells: Tensor, frames: int) -> Tensor:
    first, later = cells[:, :1], cells[:, 1:]
    if later.shape[1] == 0 or frames == 1:
        return repeat(first, "b 1 h w -> b f h w", f=frames)
    if later.shape[1] % (frames - 1):
        raise ValueError(
            f"attention mask: expected 1 frame or 1 + a multiple of {frames - 1}, found {cells.shape[1]}; give it as "
            "many frames as the reference has"
        )
    return torch.cat([first, reduce(later, "b (f g) h w -> b f h w", "mean", f=frames - 1)], dim=1)
