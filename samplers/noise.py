"""Noise from a seeded CPU generator, and its way into a latent (spec sampling.md section 3).

Order of draws: one float32 CPU generator a sampler run, seeded with the user's seed; the video latent's shape
first, then the audio latent's. It is ComfyUI's order too, so that a seed means the same in both hosts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .streams import Streams


def draw_noise(seed: int, shapes: Streams[Sequence[int]]) -> Streams[Tensor]:
    """Standard normal noise of the given latent shapes, float32 on the CPU."""
    generator = torch.Generator("cpu").manual_seed(seed)

    def draw(shape: Sequence[int]) -> Tensor:
        return torch.randn(tuple(shape), generator=generator, dtype=torch.float32, device="cpu")

    return shapes.map(draw)


def add_noise(latent: Tensor, clean: Tensor, mask: Tensor, noise: Tensor, level: float | Tensor) -> Tensor:
    """lerp(latent, noise, level), then lerp(clean, that, mask), in float32; in the dtype of `latent`.

    latent, clean, noise (B, T, C); mask (B, T, 1) float32; level: 1 for a fresh stage, the first sigma for a
    refinement stage, 0 for a frozen stream.
    """
    noised = latent.float() + level * (noise.to(latent.device).float() - latent.float())
    return (clean.float() + mask * (noised - clean.float())).to(latent.dtype)
