"""Is a decoded result sound? One line a fault, with its figure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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


class FrameHealth:
    """What passes by, looked at frame by frame: a mask of a whole clip would be a quarter of the clip again."""

    def __init__(self) -> None:
        self._bad, self._peak, self._frames = 0, 0.0, 0

    def watch(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        """The same chunks (f, H, W, 3); none is held."""
        for chunk in chunks:
            self.look(chunk)
            yield chunk
            del chunk

    def look(self, frames: Tensor) -> None:
        """Frames (f, H, W, 3) in [0, 1]."""
        for frame in frames:
            self._bad += int((~torch.isfinite(frame)).sum())
            self._peak = max(self._peak, float(frame.max()))
            self._frames += 1

    def faults(self) -> list[str]:
        """What was wrong with all of them; an empty list when nothing was."""
        if self._bad:
            return [f"video: {self._bad} values are NaN or infinite; NaN is written as black"]
        black = self._peak < 1 / 255
        return [f"video: all black (brightest value {self._peak:.2g})"] if black else []


def frame_faults(frames: Tensor) -> list[str]:
    """What is wrong with frames (F, H, W, 3) in [0, 1]; an empty list when nothing is."""
    health = FrameHealth()
    health.look(frames)
    return health.faults()
