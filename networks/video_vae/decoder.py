"""Convolutional video decoder of LTX-2, LTX-2.3 and LTX-2.5: normalised latents → pixels, in pieces of any length."""

# B batch, C channels, F latent frames, T pixel frames, H height, W width
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..operations import Operations, torch_operations
from .config import BlockConfig, VideoDecoderConfig
from .convolution import CausalConv3d, NormSiLU
from .frame_attention import FrameAttention
from .limits import piece_elements, refuse_chunk, refuse_reflected, refuse_shape
from .pixels import unpatchify
from .resample import DepthToSpace
from .residual import ResidualBlock, ResX
from .stages import stages_of
from .statistics import PerChannelStatistics
from .streaming import Draw, Stage, Stream, cut, join, push, seeded_draw
from .timestep import TimeEmbedder, scale_shift_rows

DEFAULT_CHUNK = 4  # latent frames: the wide early layers are too small for a device one frame at a time


@dataclass(frozen=True, kw_only=True)
class DecoderNoise:
    """What a timestep conditioned decoder is told, and where random numbers come from; others ignore it.

    draw is asked first for one tensor of the latent's shape (timestep conditioned decoders), then for one (H, W) map
    per noisy convolution, in the order of the layers.
    """

    timestep: float = 0.05
    scale: float = 0.025  # share of noise in the latent
    draw: Draw = field(default_factory=seeded_draw)


class VideoDecoder(nn.Module):
    """Spec page video_vae, section 5."""

    def __init__(self, config: VideoDecoderConfig, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        self.config = config
        self.per_channel_statistics = PerChannelStatistics(config.latent_channels)
        padding, causal, width = config.padding, config.causal, config.width
        self.conv_in = CausalConv3d(
            config.latent_channels, width, padding=padding, causal=causal, operations=operations
        )
        self.up_blocks = nn.ModuleList()
        for block in config.blocks:
            self.up_blocks.append(_build_block(block, width, config, operations))
            width //= block.multiplier
        patch = config.out_channels * config.patch_size**2
        self.conv_out = CausalConv3d(width, patch, padding=padding, causal=causal, operations=operations)
        if config.timestep_conditioning:
            self.timestep_scale_multiplier = nn.Parameter(torch.empty(()))
            self.last_time_embedder = TimeEmbedder(2 * width, operations=operations)
            self.last_scale_shift_table = nn.Parameter(torch.empty(2, width))

    def forward(self, latent: Tensor, *, noise: DecoderNoise | None = None) -> Tensor:
        """`decode` in one piece, differentiable: for training and short clips."""
        self._check(latent)
        stream, z = self._prepared(latent, noise or DecoderNoise())
        (video,) = push(self._stages(), z, True, stream, None)
        return video.to(latent.dtype)

    def decode(self, latent: Tensor, *, chunk: int = DEFAULT_CHUNK, noise: DecoderNoise | None = None) -> Tensor:
        """latent (B, C, F, H', W'), normalised → video (B, 3, T, H, W), about -1..1, in the dtype of the latent.

        With the published factors (8, 32, 32): T = 8 (F - 1) + 1, H = 32 H', W = 32 W'. Computed in pieces of `chunk`
        latent frames; the memory in use beside the result depends on `chunk` and not on F, the result on neither.
        Raises ValueError for another number of channels and for sizes below 2x2 where the padding reflects.
        """
        chunks = self.decode_stream(latent, chunk=chunk, noise=noise)
        frames, height, width = self.config.factors
        shape = frames * (latent.shape[2] - 1) + 1, latent.shape[3] * height, latent.shape[4] * width
        return join(chunks, latent.new_empty(latent.shape[0], self.config.out_channels, *shape))

    def decode_stream(
        self,
        latent: Tensor,
        *,
        chunk: int = DEFAULT_CHUNK,
        noise: DecoderNoise | None = None,
        limit: int | None = None,
    ) -> Iterator[Tensor]:
        """The video of `decode` as consecutive parts (B, 3, t, H, W), t >= 1; their lengths vary.

        limit: elements of the largest piece of a feature map; None: what suits the device.
        """
        refuse_chunk(chunk)
        self._check(latent)
        return self._decode(latent, chunk, noise or DecoderNoise(), limit)

    @torch.no_grad()
    def _decode(self, latent: Tensor, chunk: int, noise: DecoderNoise, limit: int | None) -> Iterator[Tensor]:
        stream, z = self._prepared(latent, noise)
        stages = self._stages()
        for piece, last in cut(z, chunk, chunk):
            for video in push(stages, piece, last, stream, limit or piece_elements(z)):
                yield video.to(latent.dtype)

    def _prepared(self, latent: Tensor, noise: DecoderNoise) -> tuple[Stream, Tensor]:
        """The stream, and the latent in the dtype of the weights, with its noise, in the VAE's own units."""
        z = latent.to(self.conv_in.conv.weight.dtype)
        stream = Stream(draw=noise.draw)
        if self.config.timestep_conditioning:
            z = noise.scale * noise.draw(z.shape).to(z) + (1 - noise.scale) * z
            stream.timestep = noise.timestep * self.timestep_scale_multiplier.to(z.device, torch.float32)
        return stream, self.per_channel_statistics.un_normalize(z)

    def _stages(self) -> list[Stage]:
        begin, end = Stage(self.conv_in, self.conv_in.growth), Stage(self._end, self.conv_out.growth)
        return [begin, *stages_of(self.up_blocks), end]

    def _end(self, x: Tensor, stream: Stream, last: bool) -> Tensor:
        window = self.conv_out.window(x, stream, last, self._last_activation(x, stream))
        return unpatchify(self.conv_out.convolve(window), self.config.patch_size)

    def _last_activation(self, x: Tensor, stream: Stream) -> NormSiLU:
        timestep = stream.timestep
        if timestep is None:
            return NormSiLU()
        embedding = stream.once(self, lambda: self.last_time_embedder(timestep, x.dtype))
        shift, scale = scale_shift_rows(self.last_scale_shift_table, embedding)
        return NormSiLU(shift, scale)

    def _check(self, latent: Tensor) -> None:
        refuse_shape(latent, self.config.latent_channels, "latent")
        refuse_reflected(self.config.padding, *latent.shape[3:])


def _build_block(block: BlockConfig, width: int, config: VideoDecoderConfig, operations: Operations) -> nn.Module:
    padding, causal = config.padding, config.causal
    if block.kind == "attn":
        return FrameAttention(width, operations=operations)
    if block.kind == "res_x":
        return ResX(
            width,
            block.num_layers,
            padding=padding,
            causal=causal,
            inject_noise=block.inject_noise,
            timestep_conditioning=config.timestep_conditioning,
            operations=operations,
        )
    if block.kind == "res_x_y":
        return ResidualBlock(
            width,
            width // block.multiplier,
            padding=padding,
            causal=causal,
            inject_noise=block.inject_noise,
            operations=operations,
        )
    return DepthToSpace(
        width,
        block.multiplier,
        block.stride,
        residual=block.residual,
        padding=padding,
        causal=causal,
        operations=operations,
    )
