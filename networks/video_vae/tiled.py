"""Tiled decode and encode: tiles as the published code cuts and blends them (spec page video_vae, section 7).

An approximation: each tile sees its own borders. The convolutional networks also stream exactly in time
(`decode_stream`, `encode_stream`); tiles are for clips whose single frames are too large.
"""

# B batch, C latent channels, F latent frames, T frames, H height, W width
from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from .blending import Tile, TileRun, blend
from .decoder import DecoderNoise, VideoDecoder
from .diffusion.decoder import DiffusionDecoder
from .encoder import VideoEncoder
from .limits import refuse_shape
from .streaming import join
from .tiling import AXES, DEFAULT_TILING, AxisPlan, Tiling, decode_plan, encode_plan

AnyVideoDecoder = VideoDecoder | DiffusionDecoder


def decode_tiled(
    decoder: AnyVideoDecoder, latent: Tensor, tiling: Tiling, *, noise: DecoderNoise | None = None
) -> Tensor:
    """latent (B, C, F, H', W'), normalised → video (B, 3, T, H, W) in the dtype of the latent.

    Raises ValueError for tile sizes and overlaps that the decoder does not take (see `Tiling`).
    """
    frames, height, width = decoder.config.factors
    chunks = decode_tiled_stream(decoder, latent, tiling, noise=noise)
    shape = frames * (latent.shape[2] - 1) + 1, height * latent.shape[3], width * latent.shape[4]
    return join(chunks, latent.new_empty(latent.shape[0], decoder.config.out_channels, *shape))


def decode_tiled_stream(
    decoder: AnyVideoDecoder, latent: Tensor, tiling: Tiling, *, noise: DecoderNoise | None = None
) -> Iterator[Tensor]:
    """The video of `decode_tiled` as consecutive parts (B, 3, t, H, W), t >= 1, one a group of tiles in time.

    A timestep conditioned decoder draws its noise tile by tile.
    """
    noise = noise or DecoderNoise()
    if isinstance(decoder, DiffusionDecoder):
        return decoder.decode_stream(latent, tiling=tiling, noise=noise)
    refuse_shape(latent, decoder.config.latent_channels, "latent")
    lengths, factors = latent.shape[2:], decoder.config.factors
    frames, height, width = (
        decode_plan(length, axis, factor, name=name)
        for length, axis, factor, name in zip(lengths, tiling.axes, factors, AXES, strict=True)
    )

    def run(tile: Tile) -> Iterator[Tensor]:
        return decoder.decode_stream(tile.source_of(latent), noise=noise)

    return _blended((frames, height, width), run, latent.dtype)


def encode_tiled(encoder: VideoEncoder, video: Tensor, tiling: Tiling = DEFAULT_TILING) -> Tensor:
    """video (B, 3, T, H, W) in -1..1 → normalised latent (B, C, F, H', W') in the dtype of the video.

    Still images are better encoded whole. Raises ValueError for overlaps below 16 frames or 64 pixels, and for sizes
    that are no multiples of the factors; frames beyond 8 k + 1 are left out with a warning.
    """
    factors = encoder.config.factors
    video = encoder.checked(video)
    cells = (video.shape[2] - 1) // factors[0] + 1, video.shape[3] // factors[1], video.shape[4] // factors[2]
    frames, height, width = (
        encode_plan(length, axis, factor, name=name)
        for length, axis, factor, name in zip(cells, tiling.axes, factors, AXES, strict=True)
    )

    def run(tile: Tile) -> Iterator[Tensor]:
        return encoder.encode_stream(tile.source_of(video))

    parts = _blended((frames, height, width), run, video.dtype)
    return join(parts, video.new_empty(video.shape[0], encoder.config.latent_channels, *cells))


@torch.no_grad()
def _blended(plans: tuple[AxisPlan, AxisPlan, AxisPlan], run: TileRun, dtype: torch.dtype) -> Iterator[Tensor]:
    # not a loop: its variable would hold the last part, and the sums behind it, while the next one is made
    yield from map(lambda part: part.to(dtype), blend(plans, run))
