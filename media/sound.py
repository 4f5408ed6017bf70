"""Sound on its way into an encoder, block by block (spec media_io.md 3.1)."""

# n samples
from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import numpy.typing as npt
import torch
from einops import rearrange
from torch import Tensor

from .codecs import AudioCodec, check_present

if TYPE_CHECKING:
    from av.container import OutputContainer

Read = Callable[[int, int], Tensor]  # (first sample, count) -> (2, up to count); fewer than asked for: the end
SAMPLES_A_BLOCK = 1 << 14


def int16_codes(waveform: Tensor) -> npt.NDArray[np.int16]:
    """16-bit samples (1, 2 * n), interleaved, of a waveform (2, n): clipped to [-1, 1], times 32767, truncated.

    NaN and infinite samples become silence.
    """
    clean = torch.nan_to_num(waveform.float(), nan=0.0, posinf=0.0, neginf=0.0).clamp(-1, 1)
    codes = (clean * 32767).to(torch.int16).cpu()
    return np.asarray(rearrange(codes, "c n -> 1 (n c)").contiguous().numpy(), dtype=np.int16)


def fit_length(waveform: Tensor, samples: int) -> Tensor:
    """`waveform` (channels, n) cut, or padded with silence at the end, to `samples`."""
    missing = max(0, samples - waveform.shape[1])
    return torch.nn.functional.pad(waveform[:, :samples], (0, missing))


def reader(waveform: Tensor | Read) -> Read:
    """A function of time from either form. Raises ValueError for a tensor that is not (2, n)."""
    if not isinstance(waveform, Tensor):
        return waveform
    if waveform.ndim != 2 or waveform.shape[0] != 2:
        raise ValueError(f"waveform: expected (2, samples), found {tuple(waveform.shape)}")
    known = waveform
    return lambda first, count: known[:, first : first + count]


class SoundTrack:
    """The sound stream of a file being written. It follows the pictures, so that no stream waits for the other."""

    def __init__(self, container: OutputContainer, codec: AudioCodec, read: Read, rate: int) -> None:
        check_present(codec.encoder)
        self.container, self.read, self.rate = container, read, rate
        self.stream: Any = container.add_stream(
            codec.encoder, rate=rate, layout="stereo", options=dict(codec.options), time_base=Fraction(1, rate)
        )
        self.written, self.ended = 0, False

    def write_until(self, samples: int, *, pad: bool) -> None:
        """Everything before sample number `samples`; `pad`: with silence where the sound has ended."""
        while self.written < samples and (pad or not self.ended):
            count = min(SAMPLES_A_BLOCK, samples - self.written)
            block = self.read(self.written, count) if not self.ended else torch.zeros(2, 0)
            self.ended = self.ended or block.shape[1] < count
            self._encode(fit_length(block, count) if pad else block)

    def write_rest(self) -> None:
        """All that there is, to the end of the sound."""
        while not self.ended:
            self.write_until(self.written + SAMPLES_A_BLOCK, pad=False)

    def close(self) -> None:
        """Flush the encoder."""
        self.container.mux(self.stream.encode(None))

    def _encode(self, block: Tensor) -> None:
        if block.shape[1] == 0:
            return
        frame = av.AudioFrame.from_ndarray(int16_codes(block), format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = self.rate, self.written, Fraction(1, self.rate)
        self.container.mux(self.stream.encode(frame))
        self.written += block.shape[1]
