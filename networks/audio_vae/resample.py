"""Sample rate conversion: polyphase windowed sinc (audio.md section 3.2)."""

# B batch, S channels, N samples, P phases of an output block, L taps
from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

ZERO_CROSSINGS = 6
ROLL_OFF = 0.99
PHASES_AT_ONCE = 512


def resample(waveform: Tensor, source_rate: int, target_rate: int) -> Tensor:
    """Convert (B, S, N) float32 from source_rate to target_rate, both in whole Hz.

    Returns (B, S, ceil(N · target / source)); the waveform itself where the rates are equal.
    Raises ValueError for a rate that is not a positive integer.
    """
    for rate in (source_rate, target_rate):
        if rate != int(rate) or rate <= 0:
            raise ValueError(f"expected sample rates in whole positive Hz, found {rate}")
    if source_rate == target_rate:
        return waveform
    divisor = math.gcd(source_rate, target_rate)
    source, target = source_rate // divisor, target_rate // divisor
    batch, _, samples = waveform.shape
    width = _half_width(source, target)
    padded = F.pad(rearrange(waveform, "b s n -> (b s) 1 n"), (width, width + source))
    blocks = samples // source + 1
    phases = []
    for first in range(0, target, PHASES_AT_ONCE):
        kernel, start = _kernel(source, target, first)
        window = padded[..., start : start + (blocks - 1) * source + kernel.shape[-1]]
        phases.append(F.conv1d(window, kernel.to(waveform), stride=source))
    interleaved = rearrange(torch.cat(phases, dim=1), "(b s) p n -> b s (n p)", b=batch)
    return interleaved[..., : -(-target * samples // source)]


def _half_width(source: int, target: int) -> int:
    return math.ceil(ZERO_CROSSINGS * source / (ROLL_OFF * min(source, target)))


@lru_cache(maxsize=128)
def _kernel(source: int, target: int, first: int) -> tuple[Tensor, int]:
    """Kernels (P, 1, L) of the phases from `first` on, and where their taps start in the padded waveform.

    Only taps near those phases are kept: coprime rates would otherwise need source · target of them.
    """
    width, cutoff = _half_width(source, target), ROLL_OFF * min(source, target)
    last = min(first + PHASES_AT_ONCE, target) - 1
    low = first * source // target - width
    high = min(-(-last * source // target), source - 1) + width
    with torch.inference_mode(False), torch.device("cpu"):
        taps = torch.arange(low, high + 1, dtype=torch.float64) / source
        phases = torch.arange(first, last + 1, dtype=torch.float64)[:, None] / target
        t = ((taps - phases) * cutoff).clamp(-ZERO_CROSSINGS, ZERO_CROSSINGS)
        window = torch.cos(torch.pi * t / (2 * ZERO_CROSSINGS)).square()
        kernel = torch.sinc(t) * window * cutoff / source
        return kernel[:, None].to(torch.float32), low + width
