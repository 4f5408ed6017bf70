"""Building blocks of the audio VAE (audio.md section 4.1)."""

# B batch, C channels, T time (mel or latent frames), F frequency (bins)
from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..attention import attention
from ..operations import Operations, torch_operations

NORM_EPS = 1e-6


def pixel_norm(x: Tensor) -> Tensor:
    """x divided by its root mean square over the channels (axis 1)."""
    return x * torch.rsqrt(x.square().mean(dim=1, keepdim=True) + NORM_EPS)


class CausalConv2d(nn.Module):
    """Convolution that sees no later frame: zeros above in time, zeros on both sides in frequency."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        self.past = kernel - 1
        self.conv = operations.Conv2d(inputs, outputs, kernel, padding=(0, kernel // 2))

    def forward(self, x: Tensor) -> Tensor:  # B C T F
        y: Tensor = self.conv(F.pad(x, (0, 0, self.past, 0)) if self.past else x)
        return y


class ResidualBlock(nn.Module):
    """Two normalised convolutions beside the input, or beside a 1×1 projection of it where the width changes."""

    def __init__(self, inputs: int, outputs: int, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        self.conv1 = CausalConv2d(inputs, outputs, 3, operations=operations)
        self.conv2 = CausalConv2d(outputs, outputs, 3, operations=operations)
        if inputs != outputs:
            self.nin_shortcut = CausalConv2d(inputs, outputs, 1, operations=operations)
        self.changes_width = inputs != outputs

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(pixel_norm(x)))
        h = self.conv2(F.silu(pixel_norm(h)))
        shortcut: Tensor = self.nin_shortcut(x) if self.changes_width else x
        y: Tensor = shortcut + h
        return y


class AttentionBlock(nn.Module):
    """One head over all time × frequency positions; no published configuration uses it."""

    def __init__(self, channels: int, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        self.q = operations.Conv2d(channels, channels, 1)
        self.k = operations.Conv2d(channels, channels, 1)
        self.v = operations.Conv2d(channels, channels, 1)
        self.proj_out = operations.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = pixel_norm(x)
        q, k, v = (rearrange(layer(h), "b c t f -> b 1 (t f) c") for layer in (self.q, self.k, self.v))
        mixed = rearrange(attention(q, k, v), "b 1 (t f) c -> b c t f", t=x.shape[2])
        result: Tensor = x + self.proj_out(mixed)
        return result


class Downsample(nn.Module):
    """Halves both axes: T → ceil(T/2), F → F/2."""

    def __init__(self, channels: int, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        self.conv = operations.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(F.pad(x, (0, 1, 2, 0)))
        return y


class Upsample(nn.Module):
    """Doubles both axes and drops the first row, which stands for no time of its own: T → 2T−1, F → 2F."""

    def __init__(self, channels: int, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        self.conv = CausalConv2d(channels, channels, 3, operations=operations)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return y[:, :, 1:]


class Middle(nn.Module):
    """The blocks at the coarsest level."""

    def __init__(self, channels: int, *, attend: bool, operations: Operations = torch_operations) -> None:
        super().__init__()
        self.block_1 = ResidualBlock(channels, channels, operations=operations)
        self.attn_1 = AttentionBlock(channels, operations=operations) if attend else None
        self.block_2 = ResidualBlock(channels, channels, operations=operations)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block_1(x)
        if self.attn_1 is not None:
            x = self.attn_1(x)
        y: Tensor = self.block_2(x)
        return y


class Level(nn.Module):
    """Residual blocks of one resolution, each followed by attention where the configuration says so.

    The attribute of the resampling layer is `downsample` in the encoder, `upsample` in the decoder: a key name.
    """

    def __init__(
        self, inputs: int, outputs: int, blocks: int, *, attend: bool, operations: Operations = torch_operations
    ) -> None:
        super().__init__()
        self.block = nn.ModuleList(
            ResidualBlock(inputs if i == 0 else outputs, outputs, operations=operations) for i in range(blocks)
        )
        self.attn = nn.ModuleList(
            AttentionBlock(outputs, operations=operations) for _ in range(blocks if attend else 0)
        )
        self.downsample: Downsample | None = None
        self.upsample: Upsample | None = None

    def forward(self, x: Tensor) -> Tensor:
        for i, block in enumerate(self.block):
            x = block(x)
            if len(self.attn):
                x = self.attn[i](x)
        if self.downsample is not None:
            x = self.downsample(x)
        if self.upsample is not None:
            x = self.upsample(x)
        return x
