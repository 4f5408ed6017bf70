"""Per-channel statistics of a latent space: between the VAE's own units and the normalised latents of all others."""

# B batch, C latent channels, F frames, H height, W width
from __future__ import annotations

import torch
from torch import Tensor, nn

MEAN, STD = "mean-of-means", "std-of-means"  # the published names hold dashes


class PerChannelStatistics(nn.Module):
    """Mean and standard deviation of every latent channel (spec page video_vae, section 6)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer(MEAN, torch.empty(channels))
        self.register_buffer(STD, torch.empty(channels))

    def normalize(self, x: Tensor) -> Tensor:
        """(x - mean) / std. x (B, C, F, H, W) in VAE units; the statistics are cast to its dtype and device."""
        return (x - self._column(MEAN, x)) / self._column(STD, x)

    def un_normalize(self, x: Tensor) -> Tensor:
        """x * std + mean. x (B, C, F, H, W) normalised; the statistics are cast to its dtype and device."""
        return x * self._column(STD, x) + self._column(MEAN, x)

    def _column(self, name: str, x: Tensor) -> Tensor:
        return self.get_buffer(name).to(x)[:, None, None, None]  # C 1 1 1
