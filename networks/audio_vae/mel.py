"""Waveform → log-mel, the input of the audio encoder (audio.md sections 3.3 to 3.5)."""

# B batch, S channels, N samples, M mel frames, K frequency bins of the transform, F mel bins
from __future__ import annotations

import math
from functools import lru_cache

import torch
from einops import rearrange
from torch import Tensor

LOG_FLOOR = 1e-5
LINEAR_HZ = 1000.0  # below it the Slaney mel scale is linear, above it logarithmic
HZ_PER_MEL = 200.0 / 3.0
LOG_STEP = math.log(6.4) / 27.0


def log_mel(
    waveform: Tensor, *, sampling_rate: int = 16000, n_fft: int = 1024, hop_length: int = 160, mel_bins: int = 64
) -> Tensor:
    """Natural logarithm of the Slaney mel bands of the magnitude spectrum, floor 1e-5.

    waveform (B, S, N) float32 at `sampling_rate`, centred frames with reflected edges. Returns (B, S, M, F) float32
    with M = 1 + N // hop_length. Raises ValueError for fewer than n_fft // 2 + 1 samples, which cannot be reflected.
    """
    batch, _, samples = waveform.shape
    if samples <= n_fft // 2:
        raise ValueError(
            f"expected at least {n_fft // 2 + 1} samples at {sampling_rate} Hz, found {samples}; use a longer clip"
        )
    spectrum = torch.stft(
        rearrange(waveform, "b s n -> (b s) n"),
        n_fft,
        hop_length,
        window=torch.hann_window(n_fft, device=waveform.device, dtype=waveform.dtype),
        center=True,
        pad_mode="reflect",
        return_complex=True,
    )
    magnitude = rearrange(spectrum.abs(), "(b s) k m -> b s m k", b=batch)
    mel = magnitude @ mel_filter_bank(n_fft // 2 + 1, mel_bins, sampling_rate).to(magnitude)
    return mel.clamp(min=LOG_FLOOR).log()


@lru_cache(maxsize=4)
def mel_filter_bank(frequencies: int, mel_bins: int, sampling_rate: int) -> Tensor:
    """Slaney scale, Slaney (area) normalisation, 0 Hz to half the rate; (K, F) float32 on the CPU."""
    top = sampling_rate / 2
    with torch.inference_mode(False), torch.device("cpu"):
        hz = torch.linspace(0, top, frequencies, dtype=torch.float64)[:, None]
        points = _mel_to_hz(torch.linspace(0, _hz_to_mel(top), mel_bins + 2, dtype=torch.float64))
        low, centre, high = points[:-2], points[1:-1], points[2:]
        rising, falling = (hz - low) / (centre - low), (high - hz) / (high - centre)
        return (torch.minimum(rising, falling).clamp(min=0) * 2 / (high - low)).to(torch.float32)


def _hz_to_mel(hz: float) -> float:
    if hz < LINEAR_HZ:
        return hz / HZ_PER_MEL
    return LINEAR_HZ / HZ_PER_MEL + math.log(hz / LINEAR_HZ) / LOG_STEP


def _mel_to_hz(mel: Tensor) -> Tensor:
    knee = LINEAR_HZ / HZ_PER_MEL
    return torch.where(mel < knee, mel * HZ_PER_MEL, LINEAR_HZ * torch.exp((mel - knee) * LOG_STEP))
