"""Is a decoded result sound? One line a fault, with its figure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

SILENT, CLIPPED_SHARE, DC = 1e-4, 0.01, 0.05


def audio_faults(waveform: Tensor) -> list[str]:
    """What is wrong with a waveform (channels, samples) in [-1, 1]; an empty list when nothing is."""
    health = SoundHealth()
    health.look(waveform)
    return health.faults()


class SoundHealth:
    """Sound that passes by, looked at piece by piece."""

    def __init__(self) -> None:
        self._samples, self._bad, self._clipped, self._peak = 0, 0, 0, 0.0
        self._sums: Tensor | None = None  # of each channel

    def watch(self, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        """The same pieces (channels, samples); none is held."""
        for piece in pieces:
            self.look(piece)
            yield piece
            del piece

    def look(self, piece: Tensor) -> None:
        """A piece (channels, samples) in [-1, 1]."""
        if piece.numel() == 0:
            return
        self._samples += piece.numel()
        self._bad += int((~torch.isfinite(piece)).sum())
        self._clipped += int((piece.abs() >= 1.0).sum())
        self._peak = max(self._peak, float(piece.abs().max()))
        sums = piece.sum(dim=1, dtype=torch.float32)
        self._sums = sums if self._sums is None else self._sums + sums

    def faults(self) -> list[str]:
        """What was wrong with all of it; an empty list when nothing was."""
        if self._sums is None:
            return ["audio: no samples"]
        if self._bad:
            return [f"audio: {self._bad} samples are NaN or infinite; they are written as silence"]
        if self._peak < SILENT:
            return [f"audio: silent (peak {self._peak:.2g})"]
        clipped, offset = self._clipped / self._samples, float(self._sums.abs().max()) * len(self._sums) / self._samples
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
