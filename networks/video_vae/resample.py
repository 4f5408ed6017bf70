"""Blocks that change the size: shuffles between space, time and channels, and plain strided convolutions."""

# B batch, C channels, F frames, H height, W width
from __future__ import annotations

from math import prod

import torch
from einops import rearrange, reduce
from torch import Tensor, nn

from ..operations import Operations, torch_operations
from .config import PaddingMode
from .convolution import CausalConv3d
from .pixels import depth_to_space, space_to_depth
from .streaming import Stream


class SpaceToDepth(nn.Module):
    """Downsampler of the encoder: shuffled convolution + group means of the shuffled input.

    (B, C, F, H, W) → (B, multiplier*C, ceil(F/a), H/b, W/c) for stride (a, b, c) (spec page video_vae, section 4).
    """

    def __init__(
        self,
        channels: int,
        multiplier: int,
        stride: tuple[int, int, int],
        *,
        padding: PaddingMode,
        operations: Operations = torch_operations,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.group = divide(prod(stride), multiplier, "encoder", "multiplier")
        narrow = divide(channels, self.group, "encoder", "group of channels")
        self.conv = CausalConv3d(channels, narrow, padding=padding, causal=True, operations=operations)

    def forward(self, x: Tensor, stream: Stream, last: bool) -> Tensor:
        if self.stride[0] == 2:
            x = self._pairs(x, stream)
        h = space_to_depth(self.conv(x, stream, last), self.stride)
        shortcut = space_to_depth(x, self.stride)
        if self.group > 1:
            shortcut = reduce(shortcut, "b (c g) f h w -> b c f h w", "mean", g=self.group)
        return h.add_(shortcut)

    def _pairs(self, x: Tensor, stream: Stream) -> Tensor:
        """The first frame of the clip twice; an odd frame waits for its partner."""
        x = torch.cat([x[:, :, :1], x], dim=2) if stream.first(self) else stream.joined(self, x)
        even = x.shape[2] // 2 * 2
        stream.keep(self, x[:, :, even:])
        return x[:, :, :even]


class DepthToSpace(nn.Module):
    """Upsampler of the decoder; `residual` adds the shuffled input, repeated along the channels.

    (B, C, F, H, W) → (B, C/multiplier, a*F - (a - 1), b*H, c*W) for stride (a, b, c) (video_vae.md, section 5.1).
    """

    def __init__(
        self,
        channels: int,
        multiplier: int,
        stride: tuple[int, int, int],
        *,
        residual: bool,
        padding: PaddingMode,
        causal: bool,
        operations: Operations = torch_operations,
    ) -> None:
        super().__init__()
        self.stride = stride
        self.residual = residual
        self.out_channels = divide(channels, multiplier, "decoder", "multiplier")
        if residual:
            divide(self.out_channels, divide(channels, prod(stride), "decoder", "stride"), "decoder", "shortcut width")
        wide = self.out_channels * prod(stride)
        self.growth = wide / channels  # elements made of one
        self.conv = CausalConv3d(channels, wide, padding=padding, causal=causal, operations=operations)

    def forward(self, x: Tensor, stream: Stream, last: bool) -> Tensor:
        h = self.conv(x, stream, last)
        frames = h.shape[2]
        h = depth_to_space(h, self.stride)
        if self.residual:
            shortcut = depth_to_space(torch.cat(stream.oldest(self, x, frames), dim=2), self.stride)
            rearrange(h, "b (r c) f h w -> b r c f h w", c=shortcut.shape[1]).add_(shortcut[:, None])
        if self.stride[0] == 2 and frames and stream.first((self, "output")):
            h = h[:, :, 1:]  # the frame that the clip's first frame would have before itself
        return h


def divide(value: int, by: int, network: str, what: str) -> int:
    if value % by:
        raise ValueError(
            f"video {network}: {value} channels cannot be divided by the {what} {by}; check the block list"
        )
    return value // by


class StridedConv(CausalConv3d):
    """Plain convolution that halves the axes of its stride; encoder only, in no published file."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: tuple[int, int, int],
        *,
        padding: PaddingMode,
        operations: Operations = torch_operations,
    ) -> None:
        super().__init__(in_channels, out_channels, stride=stride, padding=padding, causal=True, operations=operations)
