"""Writes frames and sound into one file as they come, with memory independent of the clip's length.

H.264 (BT.709, limited range) and AAC, at the exact frame rate and the sound's own sample rate (spec media_io.md 3.1,
with its truncated frame rate and its unequal durations mended: the sound is cut or padded to the video's length).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import torch
from torch import Tensor

from .colour import rgb_to_i420

if TYPE_CHECKING:
    from av.container import OutputContainer

CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
CRF, PRESET = "19", "veryfast"
SAMPLES_A_BLOCK = 1 << 16


def exact_rate(frame_rate: float | Fraction) -> Fraction:
    """23.976 -> 24000/1001, 24.0 -> 24: the broadcast rate within 0.001, else the nearest simple fraction."""
    if isinstance(frame_rate, Fraction):
        return frame_rate
    whole = round(frame_rate)
    broadcast = Fraction(whole * 1000, 1001)
    if whole and abs(float(broadcast) - frame_rate) < 1e-3 and abs(whole - frame_rate) > 1e-6:
        return broadcast
    return Fraction(frame_rate).limit_denominator(1000)


def write_av(
    path: Path,
    frames: Iterable[Tensor],
    *,
    frame_rate: float | Fraction,
    waveform: Tensor | None = None,
    sample_rate: int = 48000,
) -> Path:
    """Write chunks of frames and a stereo waveform to `path`; returns `path`.

    frames: tensors (f, H, W, 3) float in [0, 1], H and W even; waveform (2, samples) float in [-1, 1], cut or padded
    with silence to the video's length. The file appears whole or not at all: it is written under a temporary name in
    the same folder and renamed. Raises ValueError for a container that is not known, a folder that cannot be written,
    and no frames.
    """
    check_target(path)
    if waveform is not None and (waveform.ndim != 2 or waveform.shape[0] != 2):
        raise ValueError(f"waveform: expected (2, samples), found {tuple(waveform.shape)}")
    rate = exact_rate(frame_rate)
    with _whole_or_nothing(path) as temporary:
        with av.open(str(temporary), "w", format=CONTAINERS[path.suffix.lower()]) as container:
            # Every stream must exist before the first packet is muxed.
            audio = None if waveform is None else container.add_stream("aac", rate=sample_rate, layout="stereo")
            count = _write_frames(container, frames, rate)
            if audio is not None and waveform is not None:
                samples = round(count / rate * sample_rate)
                _write_audio(container, audio, fit_length(waveform, samples), sample_rate)
    return path


def check_target(path: Path) -> None:
    """ValueError, one line, unless a file of this name can be written; nothing is created that stays."""
    if path.suffix.lower() not in CONTAINERS:
        raise ValueError(f"{path}: expected a name ending in {', '.join(CONTAINERS)}; choose one of these")
    if not path.parent.is_dir():
        raise ValueError(f"{path.parent}: no such folder; create it or choose another output file")
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; choose a file name")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.stem[:40]}.", suffix=".probe", dir=path.parent)
    except OSError as error:
        raise ValueError(
            f"{path.parent}: cannot be written ({error.strerror}); choose another output folder"
        ) from error
    os.close(handle)
    os.unlink(name)


def fit_length(waveform: Tensor, samples: int) -> Tensor:
    """`waveform` (channels, n) cut, or padded with silence at the end, to `samples`."""
    missing = max(0, samples - waveform.shape[1])
    return torch.nn.functional.pad(waveform[:, :samples], (0, missing))


@contextmanager
def _whole_or_nothing(path: Path) -> Iterator[Path]:
    handle, name = tempfile.mkstemp(prefix=f".{path.stem[:40]}.", suffix=f".partial{path.suffix}", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes files that only their owner reads
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _write_frames(container: OutputContainer, chunks: Iterable[Tensor], rate: Fraction) -> int:
    stream: Any = None
    count = 0
    for chunk in chunks:
        if stream is None:
            stream = _video_stream(container, rate, height=chunk.shape[1], width=chunk.shape[2])
        for codes in rgb_to_i420(torch.nan_to_num(chunk, nan=0.0, posinf=0.0, neginf=0.0)):
            frame = av.VideoFrame.from_ndarray(codes, format="yuv420p")
            frame.pts, frame.time_base = count, 1 / rate
            container.mux(stream.encode(frame))
            count += 1
    if stream is None:
        raise ValueError("frames: expected at least one frame, found none")
    container.mux(stream.encode(None))
    return count


def _video_stream(container: OutputContainer, rate: Fraction, *, height: int, width: int) -> Any:
    stream = container.add_stream("libx264", rate=rate, options={"crf": CRF, "preset": PRESET})
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.codec_context.time_base = 1 / rate
    stream.codec_context.colorspace = 1  # BT.709
    stream.codec_context.color_range = 1  # limited
    return stream


def _write_audio(container: OutputContainer, stream: Any, waveform: Tensor, rate: int) -> None:
    clean = torch.nan_to_num(waveform.float(), nan=0.0, posinf=0.0, neginf=0.0).clamp(-1, 1)
    codes = (clean * 32767).to(torch.int16).cpu().numpy()
    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=rate)
    for start in range(0, codes.shape[1], SAMPLES_A_BLOCK):
        block = np.ascontiguousarray(codes[:, start : start + SAMPLES_A_BLOCK].T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(block, format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        for converted in resampler.resample(frame):
            container.mux(stream.encode(converted))
    for converted in resampler.resample(None):
        container.mux(stream.encode(converted))
    container.mux(stream.encode(None))
