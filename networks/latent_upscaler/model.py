"""The latent upscaler, and its use on normalised latents."""

# B batch, C latent channels, F frames, H height, W width, M channels inside
from __future__ import annotations

import sys

import torch
import torch.nn.functional as F  # noqa: N812
from einops import rearrange
from torch import Tensor, nn

from ..operations import Operations, torch_operations
from ..video_vae.limits import PIECE_ELEMENTS, refuse_shape
from ..video_vae.statistics import MEAN, PerChannelStatistics
from .blocks import ResBlock
from .config import GROUPS, LatentUpscalerConfig
from .pieces import convolve, normalize
from .resamplers import make_resampler


class LatentUpscaler(nn.Module):
    """Video latent in the VAE's own units → one with more cells or frames (spec page latent_upscaler, section 4).

    All convolutions see zeros beyond the clip, in time too, and group norms cover the whole clip, so a clip that is
    cut in tiles or in time gives another result. Large maps are worked on in groups of frames inside each layer,
    with the same result (see `pieces`); not while gradients are recorded.
    """

    def __init__(self, config: LatentUpscalerConfig, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        self.config = config
        conv = operations.Conv3d if config.dims == 3 else operations.Conv2d
        channels, blocks = config.mid_channels, range(config.num_blocks_per_stage)
        self.initial_conv = conv(config.in_channels, channels, 3, padding=1)
        self.initial_norm = operations.GroupNorm(GROUPS, channels)
        self.res_blocks = nn.ModuleList(ResBlock(channels, config.dims, operations=operations) for _ in blocks)
        self.upsampler = make_resampler(config, operations)
        self.post_upsample_res_blocks = nn.ModuleList(
            ResBlock(channels, config.dims, operations=operations) for _ in blocks
        )
        self.final_conv = conv(channels, config.in_channels, 3, padding=1)

    def forward(self, x: Tensor, limit: int = PIECE_ELEMENTS) -> Tensor:
        """x (B, C, F, H, W) → (B, C, *config.output_size(F, H, W)) in x's dtype.

        limit: elements of the largest piece of a map that a layer makes at once. The items of a batch (with dims 2:
        the frames) go one after the other: nothing connects them.
        Raises ValueError for another shape.
        """
        refuse_shape(x, self.config.in_channels, "latent upscaler")
        if torch.is_grad_enabled():  # pieces are written in place
            limit = sys.maxsize
        if self.config.dims == 3:
            return torch.cat([self._upscale(clip, limit) for clip in x.chunk(x.shape[0])])
        images = rearrange(x, "b c f h w -> (b f) c h w")
        images = torch.cat([self._upscale(image, limit) for image in images.chunk(images.shape[0])])
        return rearrange(images, "(b f) c h w -> b c f h w", b=x.shape[0])

    def _upscale(self, x: Tensor, limit: int) -> Tensor:
        """x (1, C, F, H, W) or, with dims 2, (1, C, H, W)."""
        x = convolve(self.initial_conv, x, limit)
        x = F.silu(normalize(self.initial_norm, x, limit), inplace=True)
        for layer in (*self.res_blocks, self.upsampler, *self.post_upsample_res_blocks):
            x = layer(x, limit)
        return convolve(self.final_conv, x, limit)


def upscale_latent(upscaler: LatentUpscaler, statistics: PerChannelStatistics, latent: Tensor) -> Tensor:
    """Un-normalise, upscale, normalise (spec page latent_upscaler, section 6).

    latent (B, C, F, H, W), normalised, in the dtype of the network; statistics: of the video VAE of the same
    generation. Returns (B, C, *upscaler.config.output_size(F, H, W)), normalised.
    Raises ValueError for parts or latents that do not go together.
    """
    channels, found = upscaler.config.in_channels, statistics.get_buffer(MEAN).shape[0]
    if found != channels:
        raise ValueError(
            f"latent upscaler: expected statistics of {channels} channels, found {found}; "
            "use the video VAE of the same model generation"
        )
    refuse_shape(latent, channels, "latent upscaler")
    return statistics.normalize(upscaler(statistics.un_normalize(latent)))
