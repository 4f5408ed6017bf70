"""Is a decoded result sound? One line a fault, with its figure."""

from __future__ import annotations

import torch
from torch import Tensor


def audio_faults(waveform: Tensor) -> list[str]:
    """What is wrong with a waveform (channels, samples) in [-1, 1]; an empty list when nothing is."""
    if waveform.numel() == 0:
        return ["audio: no samples"]
    bad = int((~torch.isfinite(waveform)).sum())
    if bad:
        return [f"audio: {bad} samples are NaN or infinite; they are written as silence"]
    peak = float(waveform.abs().max())
    if peak < 1e-4:
        return [f"audio: silent (peak {peak:.2g})"]
    clipped = float((waveform.abs() >= 1.0).float().mean())
    return [f"audio: {clipped:.1%} of the samples are clipped"] if clipped > 0.01 else []


def frame_faults(frames: Tensor) -> list[str]:
    """What is wrong with frames (F, H, W, 3) in [0, 1]; an empty list when nothing is."""
    bad = int((~torch.isfinite(frames)).sum())
    if bad:
        return [f"video: {bad} values are NaN or infinite; they are written as black"]
    peak = float(frames.max()) if frames.numel() else 0.0
    return [f"video: all black (brightest value {peak:.2g})"] if peak < 1 / 255 else []
