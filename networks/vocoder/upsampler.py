"""Skip path of the bandwidth extension: windowed-sinc up-sampling with repeated edges (audio.md section 8.4)."""

# B batch, S channels, N samples, R ratio
from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

ZERO_CROSSINGS = 6
ROLL_OFF = 0.99
HALF_WIDTH = math.ceil(ZERO_CROSSINGS / ROLL_OFF)


def upsample_waveform(x: Tensor, ratio: int) -> Tensor:
    """(B, S, N) → (B, S, ratio · N). Not `resample`: that one pads with zeros."""
    taps = hann_sinc_filter(ratio).to(x)
    lines = F.pad(rearrange(x, "b s n -> (b s) 1 n"), (HALF_WIDTH, HALF_WIDTH), mode="replicate")
    longer = F.conv_transpose1d(lines, ratio * taps, stride=ratio)
    kept = longer[..., 2 * HALF_WIDTH * ratio : -(2 * HALF_WIDTH * ratio + 1 - ratio)]
    return rearrange(kept, "(b s) 1 n -> b s n", b=x.shape[0])


@lru_cache(maxsize=4)
def hann_sinc_filter(ratio: int) -> Tensor:
    """(1, 1, 14 · ratio + 1) float32 on the CPU."""
    with torch.inference_mode(False), torch.device("cpu"):
        t = (torch.arange(2 * HALF_WIDTH * ratio + 1, dtype=torch.float64) / ratio - HALF_WIDTH) * ROLL_OFF
        window = torch.cos(torch.pi * t.clamp(-ZERO_CROSSINGS, ZERO_CROSSINGS) / (2 * ZERO_CROSSINGS)).square()
        taps = torch.sinc(t) * window * ROLL_OFF / ratio
        return rearrange(taps, "k -> 1 1 k").to(torch.float32)
