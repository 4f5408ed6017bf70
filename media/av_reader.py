"""Reads frames and sound of a file, as the model's training material was read (spec media_io.md 2.3 and 2.6).

Colour follows the stream's tags (untagged: BT.601, limited range), its transfer curve is left alone; frames are turned
the way they are shown, which the official reader leaves out. The frame rate is converted only by `read_frames_at`.
"""

# f frames, h w rows, columns, s channels of sound, n samples
from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import dropwhile, islice, takewhile
from math import isfinite
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from .orientation import orientation_of
from .retime import CLOCK, at_constant_rate, exact_rate

if TYPE_CHECKING:
    from av.container import InputContainer

StrPath = str | os.PathLike[str]
FULL_SCALE = {"u8": 128.0, "s16": 2.0**15, "s32": 2.0**31, "s64": 2.0**63, "flt": 1.0, "dbl": 1.0}
MOST_PIXELS = 1 << 26  # twice 8K; a damaged header can promise any size, and what it promises is allocated
SAMPLES_A_BYTE = 8192  # silence in FLAC at its longest blocks; a damaged index can repeat a block without end
WARM_UP = 0.1  # seconds before the wanted sound: a decoder that starts in mid-stream lacks its first overlap


@dataclass(frozen=True, kw_only=True)
class Sound:
    """waveform (s, n) float32 at the file's own rate in Hz and with its own channels."""

    waveform: Tensor
    sample_rate: int


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """Number of frames, their size as stored, and frames a second on average (None where the file does not say)."""

    frames: int
    height: int
    width: int
    rate: Fraction | None


def video_info(path: StrPath) -> VideoInfo:
    """What the first video stream is; frames are counted by decoding where the container does not say."""
    with _opened(path) as container:
        stream = _video_stream(container, path)
        height, width, rate = stream.codec_context.height, stream.codec_context.width, stream.average_rate
        frames = stream.frames or sum(1 for _ in container.decode(stream))
    return VideoInfo(frames=frames, height=height, width=width, rate=Fraction(rate) if rate else None)


def frame_rate(path: StrPath) -> Fraction:
    """Frames a second of the first video stream, on average."""
    with _opened(path) as container:
        rate = _video_stream(container, path).average_rate
    if not rate:
        raise ValueError(f"{os.fspath(path)}: expected a video with a frame rate, found none; remux the file")
    return Fraction(rate)


def read_tags(path: StrPath) -> dict[str, str]:
    """The texts that a file carries, with lower-case names: Matroska writes them in capitals."""
    with _opened(path) as container:
        streams = (stream.metadata.items() for stream in container.streams)  # Ogg keeps them there
        every = (*(entry for stream in streams for entry in stream), *container.metadata.items())
        return {name.lower(): text for name, text in every}


def iterate_frames(
    path: StrPath, *, start: float = 0.0, deep: bool = False
) -> Iterator[tuple[Fraction | None, Tensor]]:
    """All frames as they are decoded, one in memory at a time: (seconds or None, (h, w, 3) as in `read_frames`).

    start: seconds before which frames may be left out; some before it come all the same.
    """
    with _opened(path) as container:
        stream = _video_stream(container, path)
        if start > 0:
            container.seek(int(start / stream.time_base), stream=stream)
        for frame in container.decode(stream):
            yield _time(frame, stream), _picture(frame, path, deep=deep)


def read_frames(path: StrPath, *, first: int = 0, count: int | None = None, deep: bool = False) -> Tensor:
    """Frames from index `first` on, at most `count`: uint8 (f, h, w, 3) in 0 … 255.

    deep: float32 in 0 … 255 with the fractions that sources of more than 8 bits have. Timestamps are not looked at.
    Raises ValueError for a file without video, and where no frame remains.
    """
    with _opened(path) as container:
        frames = container.decode(_video_stream(container, path))
        wanted = islice(frames, first, None if count is None else first + count)
        return _stacked((_picture(frame, path, deep=deep) for frame in wanted), path)


def read_frames_between(path: StrPath, start: float, seconds: float | None = None, *, deep: bool = False) -> Tensor:
    """Frames with start <= time < start + seconds (None: to the end), as in `read_frames`.

    Where frames have no time, by index, from round(start * fps) on. Raises ValueError as `read_frames`.
    """
    _check_span(start, seconds)
    with _opened(path) as container:
        stream = _video_stream(container, path)
        if start > 0:
            container.seek(int(start / stream.time_base), stream=stream)
        wanted: list[Tensor] = []
        for frame in container.decode(stream):
            time = _time(frame, stream)
            if time is None:
                rate = float(frame_rate(path))
                count = None if seconds is None else round(seconds * rate)
                return read_frames(path, first=round(start * rate), count=count, deep=deep)
            if seconds is not None and float(time) >= start + seconds:
                break
            if float(time) >= start:
                wanted.append(_picture(frame, path, deep=deep))
        return _stacked(wanted, path)


def read_frames_at(
    path: StrPath, rate: float | Fraction, *, start: float = 0.0, seconds: float | None = None, deep: bool = False
) -> Tensor:
    """The clip at another, constant frame rate: at each moment the frame that is shown then, as in `read_frames`.

    Frames are repeated or left out, never mixed; variable frame rates become constant ones. start, seconds: only
    frames with start <= time < start + seconds. Raises ValueError as `read_frames`, and for a rate that is not above 0.
    """
    _check_span(start, seconds)
    timed = _timed(iterate_frames(path, start=start, deep=deep), path)
    begun = dropwhile(lambda frame: frame[0] < start - CLOCK, timed)
    wanted = takewhile(lambda frame: seconds is None or frame[0] < start + seconds - CLOCK, begun)
    return _stacked(at_constant_rate(wanted, exact_rate(rate)), path)


def read_sound(path: StrPath, *, start: float = 0.0, seconds: float | None = None) -> Sound | None:
    """The first sound track from `start` seconds on, at most `seconds` of it; None without one.

    Integers are divided by their full scale, unsigned 8-bit ones around their middle. Raises ValueError for what is
    no media file.
    """
    _check_span(start, seconds)
    with _opened(path) as container:
        if not container.streams.audio:
            return None
        stream: Any = container.streams.audio[0]
        if start > WARM_UP:
            container.seek(int((start - WARM_UP) / stream.time_base), stream=stream)
        end = None if seconds is None else start + seconds
        blocks, first, rate, left = [], None, 0, SAMPLES_A_BYTE * container.size + SAMPLES_A_BYTE
        for frame in container.decode(stream):
            left -= frame.samples * len(frame.layout.channels)
            if left < 0:
                raise ValueError(f"{os.fspath(path)}: expected no more sound than the file can hold; it is damaged")
            time = float(frame.time or 0.0)
            if end is not None and time >= end:
                break
            first, rate = (time, frame.sample_rate) if first is None else (first, rate)
            blocks.append(_samples(frame))
    if first is None or not rate:
        return None
    if len({block.shape[0] for block in blocks}) != 1:
        raise ValueError(f"{os.fspath(path)}: expected one number of channels, found several; convert the file")
    waveform = torch.cat(blocks, dim=1)[:, max(round((start - first) * rate), 0) :]
    return Sound(waveform=waveform if seconds is None else waveform[:, : round(seconds * rate)], sample_rate=rate)


@contextmanager
def _opened(path: StrPath) -> Iterator[InputContainer]:
    try:
        with av.open(os.fspath(path), metadata_errors="replace") as container:
            yield container
    except (av.FFmpegError, OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{os.fspath(path)}: expected a media file that can be read, found none ({reason})") from error


def _video_stream(container: InputContainer, path: StrPath) -> Any:
    if not container.streams.video:
        raise ValueError(f"{os.fspath(path)}: expected a video, found no picture in it; choose another file")
    stream: Any = container.streams.video[0]
    if stream.codec_context is None:
        raise ValueError(f"{os.fspath(path)}: expected a codec that is known here, found another; convert the file")
    stream.thread_type = "AUTO"
    _check_size(stream.codec_context, path)
    return stream


def _check_size(picture: Any, path: StrPath) -> None:
    width, height = picture.width, picture.height
    if width * height > MOST_PIXELS:
        raise ValueError(f"{os.fspath(path)}: expected at most {MOST_PIXELS >> 20} Mi pixels, found {width}x{height}")


def _check_span(start: float, seconds: float | None) -> None:
    if not (isfinite(start) and start >= 0):
        raise ValueError(f"start: expected seconds from 0 on, found {start}")
    if seconds is not None and not (isfinite(seconds) and seconds > 0):
        raise ValueError(f"duration: expected more than 0 seconds, found {seconds}")


def _time(frame: Any, stream: Any) -> Fraction | None:
    return None if frame.pts is None else Fraction(frame.pts * stream.time_base)


def _picture(frame: Any, path: StrPath, *, deep: bool) -> Tensor:
    _check_size(frame, path)
    if deep and any(component.bits > 8 for component in frame.format.components):
        values = torch.from_numpy(frame.to_ndarray(format="rgb48le").astype(np.float32)) / 257.0
    else:
        values = torch.from_numpy(frame.to_ndarray(format="rgb24"))
        values = values.float() if deep else values
    return orientation_of(frame).upright(values)


def _timed(frames: Iterable[tuple[Fraction | None, Tensor]], path: StrPath) -> Iterator[tuple[Fraction, Tensor]]:
    for time, picture in frames:
        if time is None:
            raise ValueError(f"{os.fspath(path)}: expected frames with a time, found none; remux the file")
        yield time, picture


def _stacked(pictures: Iterable[Tensor], path: StrPath) -> Tensor:
    kept = list(pictures)
    if not kept:
        raise ValueError(f"{os.fspath(path)}: expected frames in this range, found none; choose an earlier one")
    if any(picture.shape != kept[0].shape for picture in kept):
        raise ValueError(f"{os.fspath(path)}: expected frames of one size, found several; convert the file")
    return torch.stack(kept)


def _samples(frame: Any) -> Tensor:
    """(s, n) float32 of one block, planar or interleaved."""
    kind, planar = frame.format.name.removesuffix("p"), frame.format.is_planar
    if kind not in FULL_SCALE:
        raise ValueError(f"sound: expected samples as one of {', '.join(FULL_SCALE)}, found {frame.format.name}")
    values = torch.from_numpy(np.asarray(frame.to_ndarray(), dtype=np.float64))
    offset = FULL_SCALE["u8"] if kind == "u8" else 0.0
    scaled = ((values - offset) / FULL_SCALE[kind]).float()
    channels = len(frame.layout.channels)
    return scaled if planar else rearrange(scaled, "1 (n s) -> s n", s=channels)
