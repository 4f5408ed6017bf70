"""Normalised attention guidance: a negative prompt without a second pass, also for distilled models.

Source: Chen et al. 2025, "Normalized Attention Guidance", arXiv 2505.21179. The two texts meet in the text attention of
every block, whose queries they share; everything else of the network runs once.
"""

# B batch, H heads, T tokens, w width of a head
from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

PIECE = 4096  # tokens at a time


@dataclass(frozen=True, kw_only=True)
class Nag:
    """How far the attention to the text is moved away from that to the negative text.

    scale: of the step away, 0: none; limit (the paper's tau): how many times longer than before a token may become;
    share (its alpha): of the moved attention in the result, 0: none.
    """

    scale: float = 5.0
    limit: float = 2.5
    share: float = 0.25

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and self.scale >= 0):
            raise ValueError(f"NAG scale: expected a number from 0, found {self.scale}")
        if not self.limit >= 1:
            raise ValueError(f"NAG limit: expected a number from 1, found {self.limit}")
        if not 0 <= self.share <= 1:
            raise ValueError(f"NAG share: expected a number from 0 to 1, found {self.share}")

    @property
    def active(self) -> bool:
        """Whether it changes anything."""
        return self.scale > 0 and self.share > 0

    def __call__(self, positive: Tensor, negative: Tensor) -> Tensor:
        """What a block's text attention gives (B, H, T, w) under either text → what it goes on with.

        z = p + scale (p - n); z <- z min(|z| / |p|, limit) / (|z| / |p|), lengths in L1 over all heads of a token;
        p + share (z - p). Where both texts give the same, that comes back to the bit.
        """
        out = torch.empty_like(positive)
        for start in range(0, positive.shape[2], PIECE):  # tokens do not see each other: a few need little memory
            piece = slice(start, start + PIECE)
            out[:, :, piece] = self._merged(positive[:, :, piece], negative[:, :, piece])
        return out

    def _merged(self, positive: Tensor, negative: Tensor) -> Tensor:
        moved = torch.lerp(negative, positive, 1 + self.scale)
        before, after = _length(positive), _length(moved)
        shrink = torch.where(after > 0, (self.limit * before / after).clamp(max=1), 1.0)
        return torch.lerp(positive, moved * shrink.to(moved), self.share)


def _length(x: Tensor) -> Tensor:
    """L1 length of each token over its heads, float32 (B, 1, T, 1)."""
    return x.abs().sum(dim=(1, 3), keepdim=True, dtype=torch.float32)
