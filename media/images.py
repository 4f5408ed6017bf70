"""Still images for conditioning: reading, H.264 recompression, resizing (spec media_io.md 2, conditioning.md 1)."""

from __future__ import annotations

import io
import os
import re
import warnings
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageCms, UnidentifiedImageError
from torch import Tensor

from .resize import fill_and_crop, to_vae_range

Pixels = npt.NDArray[np.uint8]  # (height, width, 3) sRGB

ORIENTATION_TAG = 0x0112  # EXIF
ROTATIONS = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_270, 8: Image.Transpose.ROTATE_90}
EARLY_CRF, LATER_CRF = 33, 18
LATER_VERSION = (2, 4)  # the first model version that was trained with the milder compression
CODEC_OPTIONS = {"preset": "veryfast"}


def read_image(source: str | os.PathLike[str] | bytes) -> Pixels:
    """A still image, by name or by its bytes, as sRGB uint8 (height, width, 3).

    EXIF rotations are applied (mirrored orientations are not), alpha is dropped, an embedded colour profile is
    converted to sRGB (one that cannot be used is ignored, with a warning). Raises ValueError for what is no readable
    image.
    """
    name = "image" if isinstance(source, bytes) else os.fspath(source)
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else Path(source)) as image:
            profile = image.info.get("icc_profile")
            rotated = _rotated(image)
            return np.asarray(to_srgb(_without_alpha(rotated), profile))
    except (UnidentifiedImageError, OSError, SyntaxError, MemoryError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name}: expected an image that Pillow can read, found none ({error})") from error


def default_crf(model_version: str | None) -> int:
    """The compression that a checkpoint saw in its conditioning images, from its `model_version` metadata."""
    match = re.match(r"(\d+)[.-](\d+)", model_version or "")
    later = match is not None and (int(match[1]), int(match[2])) >= LATER_VERSION
    return LATER_CRF if later else EARLY_CRF


def recompress(pixels: Pixels, crf: int) -> Pixels:
    """The picture after one trip through H.264 at `crf` (0: unchanged), as the model saw its conditioning images.

    Odd sizes lose their last row or column; a side below 2 passes through unchanged. Raises ValueError for a crf
    beyond 0 … 51.
    """
    if not 0 <= crf <= 51:
        raise ValueError(f"crf: expected a number from 0 (off) to 51, found {crf}")
    height, width = (size // 2 * 2 for size in pixels.shape[:2])
    if crf == 0 or min(height, width) < 2:
        return pixels
    return _decode(_encode(np.ascontiguousarray(pixels[:height, :width]), crf))


def prepare_image(pixels: Pixels, height: int, width: int, *, crf: int) -> Tensor:
    """A conditioning image for a stage of `height` x `width`: float32 (1, 3, 1, height, width) in [-1, 1].

    Recompressed at its own size first, then scaled to cover the stage and cropped.
    """
    compressed = torch.from_numpy(np.array(recompress(pixels, crf)))
    return to_vae_range(fill_and_crop(compressed[None], height, width))


def prepare_clip(frames: Tensor, height: int, width: int) -> Tensor:
    """Frames (f, h, w, 3) in 0 … 255, uint8 or float, for a stage: float32 (1, 3, f, height, width) in [-1, 1]."""
    return to_vae_range(fill_and_crop(frames, height, width))


def _rotated(image: Image.Image) -> Image.Image:
    rotation = ROTATIONS.get(image.getexif().get(ORIENTATION_TAG, 1))
    return image if rotation is None else image.transpose(rotation)


def _without_alpha(image: Image.Image) -> Image.Image:
    opaque = {"RGBA": "RGB", "LA": "L"}
    return image.convert(opaque[image.mode]) if image.mode in opaque else image


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """As RGB: by the colour profile where there is one that can be used (a warning tells otherwise), else plainly."""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError, ValueError) as error:
            warnings.warn(f"image: its colour profile cannot be used and is ignored ({error})", stacklevel=3)
    return image.convert("RGB")


def _encode(pixels: Pixels, crf: int) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=1, options={**CODEC_OPTIONS, "crf": str(crf)})
        stream.height, stream.width = pixels.shape[:2]
        stream.pix_fmt = "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def _decode(data: bytes) -> Pixels:
    with av.open(io.BytesIO(data)) as container:
        frame = next(container.decode(video=0))
        return np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
