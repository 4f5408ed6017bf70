"""A first guess for the video encoder: the truncated hierarchy of principal components that its linear path can be.

Without residual branches the encoder is linear up to its last norm: convolutions that keep a few channels of a
position, shuffles that put positions side by side, and group means beside them. So each convolution gets the
principal components of what reaches it, and the last one a regression on the wanted latents.
"""

# B batch, C channels, F frames, H height, W width, N positions
from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from ...networks.video_vae.convolution import CausalConv3d, NormSiLU
from ...networks.video_vae.encoder import VideoEncoder
from ...networks.video_vae.pixels import patchify
from ...networks.video_vae.resample import SpaceToDepth
from ...networks.video_vae.streaming import Stream
from ..linear_codec import LinearCodec

NOW, CENTRE = 2, 1  # the tap of a causal kernel that sees the position itself
CONV_GAIN = 4.0  # of the kept components over the group means beside them
OFFSET = 2.0  # deviations that the last stream lies above zero: there norm and activation are nearly linear
RIDGE = 1e-6
# Share, as an exponent, by which the kept components are made equally large: 0 keeps the most of the picture, more
# of it keeps the weights of the last layer small enough for bfloat16.
EQUAL = 0.15
LARGEST_RATIO = 30.0
POSITIONS = 60_000


@torch.no_grad()
def start_linear(encoder: VideoEncoder, codec: LinearCodec, videos: Tensor) -> None:
    """Set the weights of `encoder` by videos (B, 3, T, H, W) with objects in most cells."""
    resamplers = [block for block in encoder.down_blocks if isinstance(block, SpaceToDepth)]
    x = patchify(videos, encoder.config.patch_size)
    _keep_components(encoder.conv_in, x, gain=1.0)
    x = encoder.conv_in(x, Stream(), True)
    for block in encoder.down_blocks:
        if isinstance(block, SpaceToDepth):
            _keep_components(block.conv, x, gain=CONV_GAIN)
            moved = block(x, Stream(), True)
            if block is resamplers[-1]:
                deviation = moved.std()
                _bias(block.conv).add_(OFFSET * deviation)
                moved = moved + OFFSET * deviation
            x = moved
    _regress(encoder.conv_out, x, codec.encode(videos))


def _keep_components(conv: CausalConv3d, x: Tensor, *, gain: float) -> None:
    """The convolution of x (B, C, F, H, W) keeps its first components, the largest of them with deviation `gain`."""
    columns = rearrange(x, "b c f h w -> (b f h w) c")
    columns = columns[torch.randperm(len(columns))[:POSITIONS]]
    mean = columns.mean(dim=0)
    values, vectors = torch.linalg.eigh((columns - mean).T @ (columns - mean) / len(columns))
    spread = values.flip(0)[: conv.out_channels].clamp(min=1e-8).sqrt()
    scales = gain / spread[0] * (spread[0] / spread).pow(EQUAL).clamp(max=LARGEST_RATIO)
    kept = vectors.flip(1)[:, : conv.out_channels].T * scales[:, None]  # out C
    _place(conv, kept, -kept @ mean)


def _regress(conv: CausalConv3d, x: Tensor, wanted: Tensor) -> None:
    """The last convolution maps the activated x (B, C, F, H, W) to `wanted` (B, L, F, H, W); ridge regression."""
    activated = torch.empty_like(x)
    NormSiLU()(x, activated)
    features = rearrange(activated, "b c f h w -> (b f h w) c")
    target = rearrange(wanted, "b c f h w -> (b f h w) c")
    middle, aim = features.mean(dim=0), target.mean(dim=0)
    centred = (features - middle).double()
    gram = centred.T @ centred
    gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    found = torch.linalg.solve(gram, centred.T @ (target - aim).double()).float().T  # L C
    rows = conv.out_channels - len(found)  # the log-variance
    _place(
        conv,
        torch.cat([found, found.new_zeros(rows, found.shape[1])]),
        torch.cat([aim - found @ middle, aim.new_zeros(rows)]),
    )


def _place(conv: CausalConv3d, kernel: Tensor, bias: Tensor) -> None:
    """kernel (out, C) at the tap that sees the position itself, nothing elsewhere."""
    conv.conv.weight.zero_()
    conv.conv.weight[:, :, NOW, CENTRE, CENTRE] = kernel
    _bias(conv).copy_(bias)


def _bias(conv: CausalConv3d) -> Tensor:
    bias = conv.conv.bias
    assert bias is not None
    return bias
