"""One sequence of latent frames from two that overlap (spec pipelines.md section 16)."""

from __future__ import annotations

import torch
from torch import Tensor


def cross_fade(first: Tensor, second: Tensor, overlap: int) -> Tensor:
    """Two latents (B, C, frames, …), the last `overlap` frames of one blended with the first of the other.

    Linear, without ends: of 1 frame both have half. 0: one is put after the other. ValueError for less frames.
    """
    if not 0 <= overlap <= min(first.shape[2], second.shape[2]):
        raise ValueError(
            f"overlap: expected 0 to {min(first.shape[2], second.shape[2])} frames, found {overlap}; make the segments "
            "longer or the overlap shorter"
        )
    kept = first.shape[2] - overlap
    weights = torch.linspace(1, 0, overlap + 2)[1:-1].to(first)
    weights = weights.reshape(-1, *[1] * (first.ndim - 3))
    # lerp and not w a + (1 - w) b: where both are equal, it keeps them to the bit.
    blended = torch.lerp(second[:, :, :overlap], first[:, :, kept:], weights)
    return torch.cat([first[:, :, :kept], blended, second[:, :, overlap:]], dim=2)
