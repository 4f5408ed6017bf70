"""Anti-aliased SnakeBeta: double the rate, activate, halve the rate (audio.md section 8.1)."""

# B batch, C channels, N samples
from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

TAPS = 12
REACH = 6  # samples on each side that one output sample depends on: 3 through either filter


class AntiAliasedSnakeBeta(nn.Module):
    """State dict: `act.alpha`, `act.beta` (logarithms, one a channel) and the stored filters of both resamplers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.act = SnakeBeta(channels)
        self.upsample = Upsample()
        self.downsample = Downsample()

    def forward(self, x: Tensor) -> Tensor:  # B C N
        y: Tensor = self.downsample(self.act(self.upsample(x)))
        return y


class SnakeBeta(nn.Module):
    """x + sin²(e^alpha · x) / e^beta, per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.empty(channels))
        self.beta = nn.Parameter(torch.empty(channels))

    def forward(self, x: Tensor) -> Tensor:
        alpha, beta = (rearrange(p.to(x).exp(), "c -> c 1") for p in (self.alpha, self.beta))
        sine = torch.sin(x * alpha)
        return torch.addcmul(x, sine / (beta + 1e-9), sine)


class Upsample(nn.Module):
    """×2 in time with one filter for all channels; N → 2N."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filter", torch.empty(1, 1, TAPS))

    def forward(self, x: Tensor) -> Tensor:
        taps = _per_channel(2 * self.get_buffer("filter").to(x), x)
        padded = F.pad(x, (5, 5), mode="replicate")
        return F.conv_transpose1d(padded, taps, stride=2, groups=x.shape[1])[..., 15:-15]


class LowPass(nn.Module):
    """Filters and keeps every second sample; 2N → N."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filter", torch.empty(1, 1, TAPS))

    def forward(self, x: Tensor) -> Tensor:
        taps = _per_channel(self.get_buffer("filter").to(x), x)
        return F.conv1d(F.pad(x, (5, 6), mode="replicate"), taps, stride=2, groups=x.shape[1])


class Downsample(nn.Module):
    """Only a level in the key names: `downsample.lowpass.filter`."""

    def __init__(self) -> None:
        super().__init__()
        self.lowpass = LowPass()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.lowpass(x)
        return y


def _per_channel(taps: Tensor, x: Tensor) -> Tensor:
    """One filter for every channel; depthwise convolution is several times faster than channels as batch entries."""
    return taps.expand(x.shape[1], 1, TAPS)


@lru_cache(maxsize=1)
def kaiser_sinc_filter() -> Tensor:
    """The filter before its rounding in published files, (1, 1, 12) float32 on the CPU.

    For files that lack the filters; where a file holds them, its own are audibly different and must be used.
    """
    attenuation = 2.285 * (TAPS // 2 - 1) * torch.pi * 4 * 0.3 + 7.95  # of a transition band of 0.3
    beta = 0.1102 * (attenuation - 8.7)
    with torch.inference_mode(False), torch.device("cpu"):
        t = torch.arange(TAPS, dtype=torch.float64) - (TAPS - 1) / 2
        window = torch.kaiser_window(TAPS, periodic=False, beta=beta, dtype=torch.float64)
        taps = window * torch.sinc(0.5 * t)
        return rearrange(taps / taps.sum(), "k -> 1 1 k").to(torch.float32)
