"""Encoders on graphics chips: whether this machine has one, found out by encoding a picture with it."""

from __future__ import annotations

from functools import cache
from io import BytesIO

import av
import numpy as np

from .codecs import VIDEO_CODECS, VideoCodec, check_present

SIDE = 256  # no chip takes much smaller pictures


def check_encoder(codec: VideoCodec) -> None:
    """Raises ValueError, one line, where this build of FFmpeg lacks the encoder or this machine its chip."""
    check_present(codec.encoder)
    if codec.hardware:
        reason = fault(codec)
        if reason is not None:
            software = codec.name.split("_")[0]
            raise ValueError(
                f"{codec.name}: this machine cannot encode with it ({reason}); choose {software}, which needs no chip"
            )


def fault(codec: VideoCodec) -> str | None:
    """Why a hardware encoder does not work here, in one line; None where it does. Found out once a process."""
    return _fault(codec.name)


def working() -> list[str]:
    """The names of the hardware encoders that work here."""
    return [name for name, codec in VIDEO_CODECS.items() if codec.hardware and fault(codec) is None]


@cache
def _fault(name: str) -> str | None:
    codec = VIDEO_CODECS[name]
    try:
        check_present(codec.encoder)
        _encode_one(codec)
    except (av.FFmpegError, ValueError) as error:
        return str(getattr(error, "strerror", None) or error).splitlines()[0]
    return None


def _encode_one(codec: VideoCodec) -> None:
    """A grey picture, to nowhere. Raises av.FFmpegError where the chip is missing."""
    with av.open(BytesIO(), "w", format="matroska") as container:
        stream = container.add_stream(codec.encoder, rate=24, options=codec.encoder_options(None))
        stream.width = stream.height = SIDE
        stream.pix_fmt = codec.pixel_format
        grey = av.VideoFrame.from_ndarray(np.full((SIDE * 3 // 2, SIDE), 128, np.uint8), format="yuv420p")
        picture = grey.reformat(format=codec.pixel_format)
        picture.pts = 0
        container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
