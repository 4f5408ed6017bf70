"""Convolution and group norm of maps that are too large for one go: groups of frames, with the same result.

The statistics of a group norm cover the whole clip, so a clip cannot pass through the network in pieces: each layer
must see all of it before the next one starts. Inside a layer it can. A frame of a convolution needs one frame on each
side; a norm needs two passes. So a block lives on two maps, its input and the one under work, and some frames.
"""

# B batch (or images), C channels, F frames, H height, W width, G groups of channels
from __future__ import annotations

from collections.abc import Iterator

import torch
from einops import rearrange
from torch import Tensor, nn

Conv = nn.Conv2d | nn.Conv3d


def frames_within(limit: int, x: Tensor, channels: int) -> int:
    """How many frames of (B, channels, F, H, W) have at most `limit` elements; at least one. x gives B, H and W."""
    return max(1, limit // (x.shape[0] * channels * x.shape[-2] * x.shape[-1]))


def convolve(conv: Conv, x: Tensor, limit: int, *, overwrite: bool = False) -> Tensor:
    """conv(x): x (B, C, F, H, W), or images (B, C, H, W), which go through in one piece.

    limit: elements of the largest piece. overwrite: x is not needed any more and may become the result (conv must
    keep the number of channels).
    """
    if x.ndim == 4 or frames_within(limit, x, widest(conv)) >= x.shape[2]:
        whole: Tensor = conv(x)
        return whole
    assert not overwrite or conv.in_channels == conv.out_channels
    out = x if overwrite else x.new_empty(x.shape[0], conv.out_channels, *x.shape[2:])
    # written one piece late: a piece reads the last frame of the piece before it
    waiting = out[:, :, :0], out[:, :, :0]
    for start, piece in convolved(conv, x, limit):
        waiting[0].copy_(waiting[1])
        waiting = out[:, :, start : start + piece.shape[2]], piece
    waiting[0].copy_(waiting[1])
    return out


def convolved(conv: Conv, x: Tensor, limit: int) -> Iterator[tuple[int, Tensor]]:
    """conv(x) of a clip x (B, C, F, H, W), kernel 3 and padding 1 in time: (number of the first frame, frames).

    Frames beside a piece are convolved too and thrown away, which costs time but no copy of the clip with its padding.
    """
    step = frames_within(limit, x, widest(conv))
    for start in range(0, x.shape[2], step):
        first = max(0, start - 1)
        frames = conv(x[:, :, first : start + step + 1])
        yield start, frames[:, :, start - first :][:, :, : min(step, x.shape[2] - start)]


def normalize(norm: nn.GroupNorm, x: Tensor, limit: int) -> Tensor:
    """norm(x), x (B, C, F, H, W) or images (B, C, H, W); x is not needed any more and may become the result.

    limit: up to so many elements the layer does it; beyond, frame by frame in float32, in place.
    """
    if x.ndim == 4 or x.numel() <= limit:
        whole: Tensor = norm(x)
        return whole
    scale, shift = scale_and_shift(norm, x)
    for frame in x.unbind(2):
        frame.copy_(torch.addcmul(shift, frame.float(), scale))
    return x


def scale_and_shift(norm: nn.GroupNorm, x: Tensor) -> tuple[Tensor, Tensor]:
    """norm(x) = x * scale + shift: two (B, C, 1, 1), float32, of a clip (B, C, F, H, W)."""
    variances, means = zip(*(_frame_statistics(frame, norm.num_groups) for frame in x.unbind(2)), strict=True)
    spread, mean = torch.var_mean(torch.stack(means), dim=0, correction=0)  # B G
    variance = torch.stack(variances).mean(dim=0) + spread  # frames are equally large
    per_group = norm.num_channels // norm.num_groups
    rstd, mean = (t.repeat_interleave(per_group, dim=1) for t in (torch.rsqrt(variance + norm.eps), mean))  # B C
    # a host may hold them elsewhere and in another dtype
    weight, bias = norm.weight.to(rstd), norm.bias.to(rstd)
    scale = weight * rstd
    return scale[:, :, None, None], (bias - mean * scale)[:, :, None, None]


def widest(conv: Conv) -> int:
    return max(conv.in_channels, conv.out_channels)


def _frame_statistics(frame: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Variance and mean (B, G), float32, of a frame (B, C, H, W)."""
    return torch.var_mean(rearrange(frame.float(), "b (g c) h w -> b g (c h w)", g=groups), dim=-1, correction=0)
