"""Is a decoded result sound? One line a fault, with its figure."""

from __future__ import annotations

import torch
from torch import Tensor

SILENT, CLIPPED_SHARE, DC = 1e-4, 0.01, 0.05


def audio_faults(waveform: Tensor) -> list[str]:
    """What is wrong with a waveform (channels, samples) in [-1, 1]; an empty list when nothing is."""
    if waveform.numel() == 0:
        return ["audio: no samples"]
    bad = int((~torch.isfinite(waveform)).sum())
    if bad:
        return [f"audio: {bad} samples are NaN or infinite; they are written as silence"]
    peak = float(waveform.abs().max())
    if peak < SILENT:
        return [f"audio: silent (peak {peak:.2g})"]
    clipped = float((waveform.abs() >= 1.0).float().mean())
    offset = float(waveform.float().mean(dim=1).abs().max())
    faults = [f"audio: {clipped:.1%} of the samples are clipped"] if clipped > CLIPPED_SHARE else []
    return faults + ([f"audio: the waveform lies {offset:.2g} off its middle (DC)"] if offset > DC else [])


def frame_faults(frames: Tensor) -> list[str]:
    """What is wrong with frames (F, H, W, 3) in [0, 1]; an empty list when nothing is."""
    # Frame by frame: a mask of a whole clip would be a quarter of the clip again.
    bad = sum(int((~torch.isfinite(frame)).sum()) for frame in frames)
    if bad:
        return [f"video: {bad} values are NaN or infinite; NaN is written as black"]
    peak = float(frames.max()) if frames.numel() else 0.0
    return [f"video: all black (brightest value {peak:.2g})"] if peak < 1 / 255 else []
