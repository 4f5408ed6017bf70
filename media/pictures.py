"""Still images as a user means them; conditioning reads as the models' training data was read instead (images.py).

Beyond spec media_io.md 2.1: mirrored orientations, alpha kept or laid on a background, 16 bits.
"""

# h w rows, columns, c channels
from __future__ import annotations

import io
import os
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from .images import to_srgb

UNREADABLE = (UnidentifiedImageError, Image.DecompressionBombError, av.FFmpegError, OSError, SyntaxError, MemoryError)
Background = tuple[float, float, float]
PNG_START, PNG_BITS = b"\x89PNG\r\n\x1a\n", 24  # where a PNG says how many bits a sample has


def read_picture(source: str | os.PathLike[str] | bytes, *, background: Background | None = None) -> Tensor:
    """A still image, by name or by its bytes, as sRGB float32 in 0 … 1: (h, w, 3), with alpha (h, w, 4).

    background: a colour in 0 … 1 that transparent parts are laid on; the result has three channels then. Upright by
    its EXIF orientation, a colour profile converted to sRGB (8 bits; pictures of 16 bits keep their codes). Raises
    ValueError for what is no readable image.
    """
    name = "image" if isinstance(source, bytes) else os.fspath(source)
    try:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        pixels = _sixteen_bits(data) if _is_deep_png(data) else _by_pillow(data)
    except UNREADABLE as error:
        raise ValueError(f"{name}: expected an image that can be read, found none ({error})") from error
    if background is None or pixels.shape[2] == 3:
        return pixels
    alpha = pixels[..., 3:]
    return pixels[..., :3] * alpha + pixels.new_tensor(background) * (1 - alpha)


def _by_pillow(data: bytes) -> Tensor:
    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I;16") or upright.mode == "I":
            grey = torch.from_numpy(np.asarray(upright, dtype=np.float32)) / 65535
            return grey.clamp(0, 1)[..., None].expand(-1, -1, 3).contiguous()
        transparent = upright.has_transparency_data
        alpha = upright.convert("RGBA").getchannel("A") if transparent else None
        opaque = upright.convert("RGB") if transparent and upright.mode != "CMYK" else upright
        colours = to_srgb(opaque, image.info.get("icc_profile"))
        if alpha is not None:
            colours.putalpha(alpha)
        return torch.from_numpy(np.array(colours)).float() / 255


def _is_deep_png(data: bytes) -> bool:
    return data[:8] == PNG_START and data[PNG_BITS : PNG_BITS + 1] == b"\x10"


def _sixteen_bits(data: bytes) -> Tensor:
    """By PyAV: Pillow cuts colours of 16 bits down to 8."""
    with av.open(io.BytesIO(data)) as container:
        frame = next(container.decode(video=0), None)
        if frame is None:
            raise OSError("no picture in it")
        alpha = any(component.is_alpha for component in frame.format.components)
        codes = frame.to_ndarray(format="rgba64le" if alpha else "rgb48le")
    return torch.from_numpy(codes.astype(np.float32)) / 65535
