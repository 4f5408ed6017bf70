"""Writes frames and sound into one file as they come, with memory independent of the clip's length.

By default H.264 (BT.709, limited range) and AAC, at the exact frame rate and the sound's own sample rate (spec
media_io.md 3.1, with its truncated frame rate and its unequal durations mended: the sound is cut or padded to the
video's length unless it is to keep its own).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import av
from torch import Tensor

from .codecs import (
    AUDIO_CONTAINERS,
    AUTO,
    ColourTags,
    ContainerKind,
    VideoCodec,
    audio_codec,
    containers,
    video_codec,
    worker_threads,
)
from .hardware import check_encoder
from .late_texts import write_late_texts
from .pixels import pictures
from .retime import exact_rate
from .sound import Read, SoundTrack, reader
from .targets import Finish, check_file, whole_file

if TYPE_CHECKING:
    from av.container import OutputContainer

SoundLength = Literal["video", "own"]


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How a file is encoded. Names are those of codecs.py, "auto" takes the container's default.

    quality: in the codec's own figure (crf: smaller is better), None for its default. sound_length: "video" cuts the
    sound, or pads it with silence, to the video's length; "own" leaves it as long as it is.
    """

    video: str = AUTO
    audio: str = AUTO
    quality: int | None = None
    sound_length: SoundLength = "video"


def write_av(
    path: Path,
    frames: Iterable[Tensor],
    *,
    frame_rate: float | Fraction,
    waveform: Tensor | Read | None = None,
    sample_rate: int = 48000,
    encoding: Encoding | None = None,
    tags: Mapping[str, str] | None = None,
    finish: Finish | None = None,
) -> Path:
    """Write chunks of frames and stereo sound to `path`, whose suffix names the container; returns `path`.

    frames: tensors (f, H, W, 3) float in [0, 1] (scene-linear Rec.709 for the codec h265_hlg), H and W even; waveform
    (2, samples) float in [-1, 1], or a function of time (first sample, count) -> (2, up to count) that is called in
    order, while frames come. tags: texts for the file. finish: as in `whole_file`. The file appears whole or not at
    all.
    Raises ValueError for a container, codec or quality that is not known or does not go together, a folder that cannot
    be written, no frames, and frames that change their size.
    """
    check_target(path)
    suffix, encoding = path.suffix.lower(), encoding or Encoding()
    codec, rate = video_codec(encoding.video, suffix), exact_rate(frame_rate)
    sound = None if waveform is None else (audio_codec(encoding.audio, suffix, sample_rate), reader(waveform))
    check_encoder(codec)
    os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder tells its whole configuration otherwise
    kind = containers()[suffix]
    with whole_file(path, _after_mux(kind, tags, finish)) as temporary, _opened(temporary, kind, tags) as container:
        # Every stream must exist before the first packet is muxed.
        video = _VideoTrack(container, codec, rate, codec.encoder_options(encoding.quality))
        track = None if sound is None else SoundTrack(container, *sound, sample_rate)
        fits = encoding.sound_length == "video"
        for chunk in frames:
            video.write(chunk)
            del chunk  # before the next one is made: two at a time would be twice the memory
            if track is not None:
                track.write_until(round(video.count / rate * sample_rate), pad=fits)
        video.close()
        if track is not None:
            if not fits:
                track.write_rest()
            track.close()
    return path


def write_audio(
    path: Path,
    waveform: Tensor | Read,
    *,
    sample_rate: int,
    codec: str = AUTO,
    tags: Mapping[str, str] | None = None,
    finish: Finish | None = None,
) -> Path:
    """Write stereo sound alone: .wav and .flac (16 bit), .opus, .m4a; arguments and errors as in `write_av`."""
    check_file(path, AUDIO_CONTAINERS)
    suffix = path.suffix.lower()
    chosen, read = audio_codec(codec, suffix, sample_rate), reader(waveform)
    with whole_file(path, finish) as temporary, _opened(temporary, AUDIO_CONTAINERS[suffix], tags) as container:
        track = SoundTrack(container, chosen, read, sample_rate)
        track.write_rest()
        track.close()
    return path


def check_target(path: Path) -> None:
    """ValueError, one line, unless a video file of this name can be written; nothing is created that stays."""
    check_file(path, containers())


def _opened(path: Path, kind: ContainerKind, tags: Mapping[str, str] | None) -> OutputContainer:
    container = av.open(str(path), "w", format=kind.format, options=dict(kind.options))
    if kind.texts == "named":
        container.metadata.update(tags or {})
    elif kind.texts == "comment" and tags:
        container.metadata["comment"] = json.dumps(dict(tags))
    return container


def _after_mux(kind: ContainerKind, tags: Mapping[str, str] | None, finish: Finish | None) -> Finish | None:
    """`finish`, after the texts that the muxer could not write."""
    if kind.texts != "late" or not tags:
        return finish
    texts = tags

    def both(path: Path) -> Path | None:
        write_late_texts(path, texts)
        return None if finish is None else finish(path)

    return both


class _VideoTrack:
    """The video stream of a file being written; it learns its size from the first frames."""

    def __init__(self, container: OutputContainer, codec: VideoCodec, rate: Fraction, options: dict[str, str]) -> None:
        self.container, self.codec, self.rate, self.count = container, codec, rate, 0
        self.pictures = pictures(codec.pixels, codec.pixel_format)
        self.stream: Any = container.add_stream(codec.encoder, rate=rate, options=options)
        context: Any = self.stream.codec_context
        context.pix_fmt, context.time_base = codec.pixel_format, 1 / rate
        context.thread_count, context.thread_type = worker_threads(), "FRAME"
        _tag(context, codec.tags)
        if codec.name.startswith("h265") and container.format.name in ("mp4", "mov"):
            context.codec_tag = "hvc1"  # Apple's players take no other

    def write(self, chunk: Tensor) -> None:
        self._settle_size(chunk)
        for picture in self.pictures(chunk):
            _tag(picture, self.codec.tags)
            picture.pts, picture.time_base = self.count, 1 / self.rate
            self._encode(picture)
            self.count += 1

    def close(self) -> None:
        if not self.count:
            raise ValueError("frames: expected at least one frame, found none")
        self._encode(None)

    def _settle_size(self, chunk: Tensor) -> None:
        if chunk.ndim != 4 or chunk.shape[3] != 3:
            raise ValueError(f"frames: expected (frames, height, width, 3), found {tuple(chunk.shape)}")
        size = (chunk.shape[2], chunk.shape[1])
        if not self.count:
            self.stream.width, self.stream.height = size
        elif size != (self.stream.width, self.stream.height):
            raise ValueError(f"frames: expected {self.stream.width}x{self.stream.height}, found {size[0]}x{size[1]}")

    def _encode(self, picture: av.VideoFrame | None) -> None:
        try:
            packets = self.stream.encode(picture)
        except av.FFmpegError as error:
            if self.codec.hardware:  # a size or length that the chip does not take
                raise ValueError(f"{self.codec.name}: cannot encode these frames ({error.strerror})") from error
            raise
        self.container.mux(packets)


def _tag(target: Any, tags: ColourTags | None) -> None:
    """Encoders read the colour from their context or, as ProRes does, from the pictures."""
    if tags is not None:
        target.color_primaries, target.color_trc = tags.primaries, tags.transfer
        target.colorspace, target.color_range = tags.matrix, tags.range
