"""Chunks of float frames as the pictures that encoders take, one at a time."""

# F frames, H height, W width
from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from .codecs import PixelKind
from .colour import BT709, Planes, rgb_to_10bit, rgb_to_i420, rgb_to_rgb24
from .hlg import hlg_planes

Pictures = Callable[[Tensor], Iterator[av.VideoFrame]]


def pictures(kind: PixelKind, pixel_format: str) -> Pictures:
    """The function that makes pictures of frames (F, H, W, 3): in [0, 1], or scene-linear Rec.709 for "hlg"."""
    makers: dict[PixelKind, Callable[[Tensor], av.VideoFrame]] = {
        "yuv420": lambda frame: _i420(frame, pixel_format),
        "yuv420_10": lambda frame: _planar(rgb_to_10bit(frame, BT709), pixel_format),
        "yuv422_10": lambda frame: _planar(rgb_to_10bit(frame, BT709, subsampling=(1, 2)), pixel_format),
        "hlg": lambda frame: _planar(hlg_planes(frame), pixel_format),
        "rgb": lambda frame: _rgb(frame, pixel_format),
        "palette": _palette,
    }
    make = makers[kind]
    # Frame by frame: the intermediate planes of one stay in the cache and in the allocator, those of a chunk do not.
    return lambda chunk: (make(chunk[index : index + 1]) for index in range(len(chunk)))


def _i420(frame: Tensor, pixel_format: str) -> av.VideoFrame:
    picture = av.VideoFrame.from_ndarray(rgb_to_i420(frame)[0], format="yuv420p")
    return picture if pixel_format == "yuv420p" else picture.reformat(format=pixel_format)  # nv12: the same codes


def _planar(planes: Planes, pixel_format: str) -> av.VideoFrame:
    luma, chroma = planes.luma[0].numpy(), planes.chroma[0].numpy()
    picture = av.VideoFrame(luma.shape[1], luma.shape[0], pixel_format)
    for plane, codes in zip(picture.planes, (luma, *chroma), strict=True):
        _fill(plane, codes)
    return picture


def _fill(plane: av.video.plane.VideoPlane, codes: npt.NDArray[np.int16]) -> None:
    lines = np.frombuffer(memoryview(plane), dtype=np.int16).reshape(
        plane.height, plane.line_size // 2
    )  # lines are padded
    lines[:, : codes.shape[1]] = codes


def _rgb(frame: Tensor, pixel_format: str) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(rgb_to_rgb24(frame)[0], format="rgb24").reformat(format=pixel_format)


def _palette(frame: Tensor) -> av.VideoFrame:
    """A palette a frame: one for all frames would need them all before the first is written."""
    image = Image.fromarray(rgb_to_rgb24(frame)[0]).quantize(256, dither=Image.Dither.FLOYDSTEINBERG)
    entries = np.zeros((256, 4), np.uint8)  # alpha, red, green, blue
    entries[:, 0] = 255
    found = np.asarray(image.getpalette() or [], dtype=np.uint8).reshape(-1, 3)
    entries[: len(found), 1:] = found
    indexed: Any = (np.asarray(image), entries)  # PyAV takes a pair here, its annotations do not say so
    return av.VideoFrame.from_ndarray(indexed, format="pal8")
