"""Chunks of float frames as the pictures that encoders take, one at a time."""

# F frames, H height, W width
from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import av
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .codecs import PixelKind
from .colour import BT709, BT2020, Matrix, Memory, Signal, rgb_to_rgb24, write_codes
from .hlg import hlg_signal

Pictures = Callable[[Tensor], Iterator[av.VideoFrame]]
EIGHT_BITS = "yuv420p"


def pictures(kind: PixelKind, pixel_format: str) -> Pictures:
    """The function that makes pictures of frames (F, H, W, 3): in [0, 1], or scene-linear Rec.709 for "hlg".

    A picture is good until the next one is asked for: encoders that keep it longer hold on to its memory themselves.
    """
    makers: dict[PixelKind, Callable[[], Callable[[Tensor], av.VideoFrame]]] = {
        "yuv420": lambda: _Yuv(pixel_format, BT709),
        "yuv420_10": lambda: _Yuv(pixel_format, BT709, bits=10),
        "yuv422_10": lambda: _Yuv(pixel_format, BT709, bits=10, subsampling=(1, 2)),
        "hlg": lambda: _Yuv(pixel_format, BT2020, bits=10, signal=hlg_signal),
        "rgb": lambda: lambda frame: _rgb(frame, pixel_format),
        "palette": lambda: _palette,
    }
    make = makers[kind]()
    return lambda chunk: map(make, chunk)


class _Yuv:
    """Frames (H, W, 3) as YUV pictures; picture and working memory are those of the frame before."""

    def __init__(
        self,
        pixel_format: str,
        matrix: Matrix,
        *,
        bits: int = 8,
        subsampling: tuple[int, int] = (2, 2),
        signal: Signal | None = None,
    ) -> None:
        self.wanted, self.planar = pixel_format, pixel_format if bits > 8 else EIGHT_BITS
        self.matrix, self.bits, self.subsampling, self.signal = matrix, bits, subsampling, signal
        self.memory, self.picture = Memory(), av.VideoFrame(0, 0, self.planar)

    def __call__(self, frame: Tensor) -> av.VideoFrame:
        height, width, _ = frame.shape
        if (self.picture.height, self.picture.width) != (height, width):
            self.picture = av.VideoFrame(width, height, self.planar)
        self.picture.make_writable()  # a copy, where an encoder still looks at it
        planes = [_lines(plane, self.bits) for plane in self.picture.planes]
        write_codes(
            frame,
            self.matrix,
            planes,
            bits=self.bits,
            subsampling=self.subsampling,
            signal=self.signal,
            memory=self.memory,
        )
        if self.wanted == self.planar:
            return self.picture
        return self.picture.reformat(format=self.wanted)  # nv12: the same codes


def _lines(plane: av.video.plane.VideoPlane, bits: int) -> Tensor:
    """The codes of a plane, (rows, columns), to be written; its lines are padded."""
    codes = np.frombuffer(memoryview(plane), dtype=np.int16 if bits > 8 else np.uint8)
    lines = codes.reshape(plane.height, plane.line_size // codes.itemsize)
    return torch.from_numpy(lines[:, : plane.width])


def _rgb(frame: Tensor, pixel_format: str) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(rgb_to_rgb24(frame), format="rgb24").reformat(format=pixel_format)


def _palette(frame: Tensor) -> av.VideoFrame:
    """A palette a frame: one for all frames would need them all before the first is written."""
    image = Image.fromarray(rgb_to_rgb24(frame)).quantize(256, dither=Image.Dither.FLOYDSTEINBERG)
    entries = np.zeros((256, 4), np.uint8)  # alpha, red, green, blue
    entries[:, 0] = 255
    found = np.asarray(image.getpalette() or [], dtype=np.uint8).reshape(-1, 3)
    entries[: len(found), 1:] = found
    indexed: Any = (np.asarray(image), entries)  # PyAV takes a pair here, its annotations do not say so
    return av.VideoFrame.from_ndarray(indexed, format="pal8")
