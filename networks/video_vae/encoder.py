"""Video encoder of LTX-2, LTX-2.3 and LTX-2.5: pixels → normalised latents, in pieces of any length."""

# B batch, C channels, T pixel frames, F latent frames, H height, W width
from __future__ import annotations

import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..operations import Operations, torch_operations
from .config import BlockConfig, VideoEncoderConfig
from .convolution import CausalConv3d, NormSiLU
from .frame_attention import FrameAttention
from .limits import piece_elements, refuse_chunk, refuse_reflected, refuse_shape
from .pixels import patchify
from .resample import SpaceToDepth, StridedConv
from .residual import ResidualBlock, ResX
from .stages import stages_of
from .statistics import PerChannelStatistics
from .streaming import Stage, Stream, cut, join, push


class VideoEncoder(nn.Module):
    """Spec page video_vae, section 4. The result is always the mean: nothing is sampled."""

    def __init__(self, config: VideoEncoderConfig, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        self.config = config
        self.per_channel_statistics = PerChannelStatistics(config.latent_channels)
        width = config.latent_channels
        self.conv_in = CausalConv3d(
            config.in_channels * config.patch_size**2, width, padding=config.padding, causal=True, operations=operations
        )
        self.down_blocks = nn.ModuleList()
        for block in config.blocks:
            self.down_blocks.append(_build_block(block, width, config, operations))
            width *= block.multiplier
        self.conv_out = CausalConv3d(
            width, config.conv_out_channels, padding=config.padding, causal=True, operations=operations
        )

    def forward(self, video: Tensor) -> Tensor:
        """`encode` in one piece, differentiable: for training and short clips."""
        video = self.checked(video)
        (latent,) = push(self._stages(), video.to(self._dtype), True, Stream(), None)
        return latent.to(video.dtype)

    def encode(self, video: Tensor, *, chunk: int = 1) -> Tensor:
        """video (B, 3, T, H, W) in -1..1 → normalised latent (B, C, F, H', W') in the dtype of the video.

        With the published factors (8, 32, 32): F = (T - 1) // 8 + 1, H' = H/32, W' = W/32. Computed in pieces of
        `chunk` latent frames; the memory in use depends on `chunk` and not on T, the result on neither.
        Raises ValueError for sizes that are no multiples of the factors; frames beyond 8 k + 1 are left out
        with a warning.
        """
        video = self.checked(video)
        frames, height, width = self.config.factors
        shape = (video.shape[2] - 1) // frames + 1, video.shape[3] // height, video.shape[4] // width
        out = video.new_empty(video.shape[0], self.config.latent_channels, *shape)
        return join(self.encode_stream(video, chunk=chunk), out)

    def encode_stream(self, video: Tensor, *, chunk: int = 1) -> Iterator[Tensor]:
        """The latent of `encode` as consecutive parts (B, C, f, H', W'), f >= 1."""
        refuse_chunk(chunk)
        return self._encode(self.checked(video), chunk * self.config.factors[0])

    @torch.no_grad()
    def _encode(self, video: Tensor, step: int) -> Iterator[Tensor]:
        stream, stages = Stream(), self._stages()
        for piece, last in cut(video, step + 1, step):
            for latent in push(stages, piece.to(self._dtype), last, stream, piece_elements(video), rejoin=True):
                yield latent.to(video.dtype)

    def _stages(self) -> list[Stage]:
        begin, end = Stage(self._begin, self.conv_in.growth), Stage(self._end, self.conv_out.growth)
        return [begin, *stages_of(self.down_blocks), end]

    def _begin(self, video: Tensor, stream: Stream, last: bool) -> Tensor:
        h: Tensor = self.conv_in(patchify(video, self.config.patch_size), stream, last)
        return h

    def _end(self, x: Tensor, stream: Stream, last: bool) -> Tensor:
        h = self.conv_out.convolve(self.conv_out.window(x, stream, last, NormSiLU()))
        return self.per_channel_statistics.normalize(h[:, : self.config.latent_channels])

    @property
    def _dtype(self) -> torch.dtype:
        return self.conv_in.conv.weight.dtype

    def checked(self, video: Tensor) -> Tensor:
        """The video without the frames beyond 8 k + 1, with a warning; ValueError for sizes that are no multiple."""
        refuse_shape(video, self.config.in_channels, "video")
        frames, height, width = self.config.factors
        if video.shape[3] % height or video.shape[4] % width:
            raise ValueError(
                f"video: expected a height that is a multiple of {height} and a width that is a multiple of {width}, "
                f"found {video.shape[3]}x{video.shape[4]}; crop or resize it first"
            )
        refuse_reflected(self.config.padding, video.shape[3] // height, video.shape[4] // width)
        surplus = (video.shape[2] - 1) % frames
        if surplus:
            warnings.warn(
                f"the last {surplus} of {video.shape[2]} frames are left out: {frames} k + 1 are encoded", stacklevel=3
            )
        return video[:, :, : video.shape[2] - surplus]


def _build_block(block: BlockConfig, width: int, config: VideoEncoderConfig, operations: Operations) -> nn.Module:
    padding = config.padding
    if block.kind == "attn":
        return FrameAttention(width, operations=operations)
    if block.kind == "res_x":
        return ResX(
            width,
            block.num_layers,
            padding=padding,
            causal=True,
            inject_noise=block.inject_noise,
            operations=operations,
        )
    wider = width * block.multiplier
    if block.kind == "res_x_y":
        return ResidualBlock(
            width, wider, padding=padding, causal=True, inject_noise=block.inject_noise, operations=operations
        )
    if block.kind.endswith("_res"):
        return SpaceToDepth(width, block.multiplier, block.stride, padding=padding, operations=operations)
    return StridedConv(width, wider, block.stride, padding=padding, operations=operations)
