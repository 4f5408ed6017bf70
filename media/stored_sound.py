"""Sound that waits on the disk for its pictures: decoded before them, muxed beside them, never whole in memory."""

# n samples
from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from .targets import room_on_disk

CHANNELS = 2
FRAME = 4 * CHANNELS  # bytes of a sample of all channels
READ = 1 << 16  # samples at a time where all of them are read


class StoredSound:
    """Stereo float32; called as `write_av` calls a waveform: (first sample, count) -> (2, up to count)."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.samples = file, 0

    def append(self, piece: Tensor) -> None:
        """piece (2, n), the next samples."""
        assert piece.shape[0] == CHANNELS, piece.shape
        self._file.seek(0, 2)
        self._file.write(rearrange(piece.float().cpu(), "c n -> n c").contiguous().numpy().tobytes())
        self.samples += piece.shape[1]

    def __call__(self, first: int, count: int) -> Tensor:
        self._file.seek(first * FRAME)
        interleaved = np.frombuffer(self._file.read(count * FRAME), dtype=np.float32).copy()
        return rearrange(torch.from_numpy(interleaved), "(n c) -> c n", c=CHANNELS)

    def digest(self) -> dict[str, Any]:
        """Shape, and SHA-256 of one channel behind the other: what a manifest says of a waveform in memory."""
        sha256 = hashlib.sha256()
        for channel in range(CHANNELS):
            for first in range(0, self.samples, READ):
                sha256.update(self(first, READ)[channel].contiguous().numpy().tobytes())
        return {"shape": [CHANNELS, self.samples], "sha256": sha256.hexdigest()}


@contextmanager
def stored_sound(target: Path, pieces: Iterable[Tensor]) -> Iterator[StoredSound]:
    """The sound of pieces (2, n), in a nameless file beside `target`, gone when the block ends, also after a kill.

    Raises ValueError where the disk is full.
    """
    with tempfile.TemporaryFile(dir=target.parent) as file:
        sound = StoredSound(file)
        with room_on_disk(target):
            for piece in pieces:
                sound.append(piece)
                del piece  # before the next one is made
            file.flush()
        yield sound
