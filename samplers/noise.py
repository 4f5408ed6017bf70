"""Noise from seeded CPU generators, and its way into a latent (spec sampling.md section 3).

Order of draws. Start noise: one float32 generator a sampler run, seeded with the user's seed; the video latent's shape
first, then the audio latent's. It is ComfyUI's order too, so that a seed means the same in both hosts.
Step noise of stochastic rules: a second generator, seeded with seed + 10000; per step video, then audio, in token
layout, appended tokens included. res_2s has two such generators: steps (seed), and substeps (seed + 10000).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .streams import Streams

STEP_SEED_OFFSET = 10_000
SDE_SEED = -1  # of the official high-quality recipe, whatever the user's seed is
SEEDS = 2**64

Draw = Callable[[Streams[Tensor]], Streams[Tensor]]
"""The next standard normal noise, of the shape, dtype and device of the latents that it is given."""


def draw_noise(seed: int, shapes: Streams[Sequence[int]]) -> Streams[Tensor]:
    """Standard normal noise of the given latent shapes, float32 on the CPU."""
    generator = torch.Generator("cpu").manual_seed(seed)

    def draw(shape: Sequence[int]) -> Tensor:
        return torch.randn(tuple(shape), generator=generator, dtype=torch.float32, device="cpu")

    return shapes.map(draw)


def noise_source(seed: int) -> Draw:
    """Noise from one CPU generator, call by call, video first: float64 for float64 latents, else float32, then cast."""
    generator = torch.Generator("cpu").manual_seed(seed % SEEDS)

    def draw_like(latent: Tensor) -> Tensor:
        dtype = torch.promote_types(latent.dtype, torch.float32)
        return torch.randn(latent.shape, generator=generator, dtype=dtype, device="cpu").to(latent)

    return lambda latents: latents.map(draw_like)


def step_noise(seed: int) -> Draw:
    """Noise between the steps of a stochastic rule, for the user's seed."""
    return noise_source(seed + STEP_SEED_OFFSET)


@dataclass(frozen=True, kw_only=True)
class SdeNoise:
    """The two noises of res_2s."""

    step: Draw
    substep: Draw


def sde_noise(seed: int = SDE_SEED) -> SdeNoise:
    """The generators of res_2s."""
    return SdeNoise(step=noise_source(seed), substep=noise_source(seed + STEP_SEED_OFFSET))


def normalised(noise: Tensor) -> Tensor:
    """Noise (B, T, C) with mean 0 and unbiased deviation 1: over the whole, then over each sample (sampling.md 6.5)."""
    whole = (noise - noise.mean()) / noise.std()
    return (whole - whole.mean(dim=(-2, -1), keepdim=True)) / whole.std(dim=(-2, -1), keepdim=True)


def add_noise(latent: Tensor, clean: Tensor, mask: Tensor, noise: Tensor, level: float | Tensor) -> Tensor:
    """lerp(latent, noise, level), then lerp(clean, that, mask), in float32; in the dtype of `latent`.

    latent, clean, noise (B, T, C); mask (B, T, 1) float32; level: 1 for a fresh stage, the first sigma for a
    refinement stage, 0 for a frozen stream.
    """
    noised = latent.float() + level * (noise.to(latent.device).float() - latent.float())
    return (clean.float() + mask * (noised - clean.float())).to(latent.dtype)
