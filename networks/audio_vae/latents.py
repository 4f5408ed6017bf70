"""Audio latents: tokens, statistics and decoded lengths (audio.md section 5); positions are made in samplers/."""

# B batch, C latent channels, T latent frames, f latent bins
from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .config import FRAMES_PER_LATENT


def patchify(latent: Tensor) -> Tensor:
    """(B, C, T, f) → tokens (B, T, C·f), one a latent frame, channel-major."""
    return rearrange(latent, "b c t f -> b t (c f)")


class PerChannelStatistics(nn.Module):
    """Mean and deviation of each (channel, bin), stored in token-feature order under hyphenated names."""

    def __init__(self, channels: int, bins: int) -> None:
        super().__init__()
        self.channels = channels
        self.register_buffer("mean-of-means", torch.empty(channels * bins))
        self.register_buffer("std-of-means", torch.empty(channels * bins))

    def normalize(self, latent: Tensor) -> Tensor:
        """(x − mean) / std; latent (B, C, T, f)."""
        return (latent - self._table("mean-of-means", latent)) / self._table("std-of-means", latent)

    def denormalize(self, latent: Tensor) -> Tensor:
        """x · std + mean; latent (B, C, T, f)."""
        return latent * self._table("std-of-means", latent) + self._table("mean-of-means", latent)

    def _table(self, name: str, like: Tensor) -> Tensor:
        return rearrange(self.get_buffer(name).to(like), "(c f) -> c 1 f", c=self.channels)


def mel_frames(latents: int) -> int:
    """Mel frames, of 10 ms each, that the decoder makes of `latents` latent frames."""
    return FRAMES_PER_LATENT * latents - (FRAMES_PER_LATENT - 1)


def waveform_samples(latents: int, *, output_sampling_rate: int) -> int:
    """Samples of the decoded waveform: 10 ms a mel frame, hence 30 ms less than latents / 25 s.

    Raises ValueError for a rate that has no whole number of samples in 10 ms.
    """
    samples, rest = divmod(output_sampling_rate, 100)
    if rest:
        raise ValueError(f"expected an output rate divisible by 100, found {output_sampling_rate} Hz")
    return mel_frames(latents) * samples


def conform_latent(latent: Tensor, frames: int) -> Tensor:
    """Cut a normalised latent (B, C, T, f) at its end, or append zero frames, so that it has `frames` frames."""
    return F.pad(latent[:, :, :frames], (0, 0, 0, max(0, frames - latent.shape[2])))
