"""A linear stand-in for the video VAE: principal components of its cells (spec page embedded_model, section 4.4).

A cell is 32x32 pixels of eight pictures. The first frame of a clip counts as eight equal pictures: that is how the
encoder's causal layers see it, which could not learn latents that treat it in another way.
"""

# B batch, C latent channels, T pixel frames, F latent frames, N cells, P pixel values of a cell
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from einops import rearrange
from torch import Tensor

CELL, GROUP = 32, 8
ITERATIONS = 3
PATTERN = "b c (f t) (h q) (w r) -> b f h w (c t q r)"


@dataclass(frozen=True, kw_only=True)
class LinearCodec:
    """z = (x - mean) @ analysis, x = mean + z @ synthesis; the interface of the networks.

    mean (P,), analysis (P, C), synthesis (C, P); video (B, 3, T, H, W) in -1..1, latent (B, C, F, H', W').
    """

    mean: Tensor
    analysis: Tensor
    synthesis: Tensor

    def encode(self, video: Tensor) -> Tensor:
        """T = 8 k + 1; H, W multiples of 32. Latents of unit variance, F = k + 1."""
        return rearrange((cells(video) - self.mean) @ self.analysis, "b f h w c -> b c f h w")

    def decode(self, latent: Tensor) -> Tensor:
        values = self.mean + rearrange(latent, "b c f h w -> b f h w c") @ self.synthesis
        video = rearrange(values, "b f h w (c t q r) -> b c (f t) (h q) (w r)", t=GROUP, q=CELL, r=CELL)
        return torch.cat([video[:, :, :GROUP].mean(dim=2, keepdim=True), video[:, :, GROUP:]], dim=2)

    def tensors(self) -> dict[str, Tensor]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def codec_of(tensors: Mapping[str, Tensor]) -> LinearCodec:
    """The codec that `tensors()` was called on."""
    return LinearCodec(**tensors)


def cells(video: Tensor) -> Tensor:
    """(B, 3, T, H, W) -> (B, F, H', W', P)."""
    first = video[:, :, :1].expand(-1, -1, GROUP - 1, -1, -1)
    return rearrange(torch.cat([first, video], dim=2), PATTERN, t=GROUP, q=CELL, r=CELL)


def fit(samples: Tensor, typical: Tensor, channels: int) -> LinearCodec:
    """Principal components of samples (N, P), scaled so that those of typical cells (M, P) have mean 0, variance 1."""
    mean = samples.mean(dim=0)
    _, _, components = torch.svd_lowrank(samples - mean, q=channels + 16, niter=ITERATIONS)
    components = components[:, :channels]  # P C
    latent = (typical - mean) @ components
    spread = latent.std(dim=0)
    return LinearCodec(
        mean=mean + components @ latent.mean(dim=0),
        analysis=components / spread,
        synthesis=(components * spread).T,
    )
