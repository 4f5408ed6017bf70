"""OpenEXR stills and sequences through the OpenEXR package (optional extra `exr`; spec media_io.md 5, 6)."""

# h w rows, columns, f frames
from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .hdr import SourceSpace, from_unit_range, to_codes
from .resize import fill_and_crop, fit_and_pad, frames_first

if TYPE_CHECKING:
    from types import ModuleType

LARGEST_HALF = 65504.0
LONGEST_SIDE = 16384  # a header can promise any size; what it promises is allocated before a pixel is read
CHROMATICITIES = {
    "rec709": (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290),
    "acescg": (0.713, 0.293, 0.165, 0.830, 0.128, 0.044, 0.32168, 0.33767),
}


def read_exr(source: str | os.PathLike[str] | bytes) -> Tensor:
    """One EXR file, by name or by its bytes: float32 (h, w, 3) of the data window, values untouched.

    The channels R, G and B; a single channel is copied three times, alpha and others are dropped. Raises ValueError
    for what is no such file, deep and multi-part files, other channels, and without the extra `exr`.
    """
    package = _package()
    name = "EXR bytes" if isinstance(source, bytes) else os.fspath(source)
    try:
        opened = io.BytesIO(source) if isinstance(source, bytes) else name
        with package.File(opened, separate_channels=True, header_only=True) as header:
            _check_header(package, name, header.parts)
        if isinstance(opened, io.BytesIO):
            opened.seek(0)
        with package.File(opened, separate_channels=True) as file:
            if not file.parts:  # the package drops a part whose pixels it cannot decode
                raise OSError("its pixels are damaged")
            channels = {channel.name: channel.pixels for channel in file.parts[0].channels.values()}
            return _rgb(name, channels)
    except (RuntimeError, OSError, TypeError, UnicodeDecodeError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{name}: expected an EXR file that can be read, found none ({reason})") from error


def write_exr(path: Path, pixels: Tensor, space: SourceSpace, tags: Mapping[str, str] | None = None) -> None:
    """One frame (h, w, 3) as half floats (rounded to nearest even), ZIP, with the tags of `space`.

    tags: texts, as attributes. Values beyond the largest half are written as that one. Raises ValueError without the
    extra `exr`. Not atomic: a sequence is written into a folder that appears whole (sequences.py).
    """
    package = _package()
    half = pixels.float().clamp(-LARGEST_HALF, LARGEST_HALF).half().cpu().numpy()
    channels = {name: np.ascontiguousarray(half[..., index]) for index, name in enumerate("RGB")}
    header = {
        **(tags or {}),
        "compression": package.ZIP_COMPRESSION,
        "type": package.scanlineimage,
        "chromaticities": CHROMATICITIES[space.primaries],
        "colorSpace": space.tag,
    }
    with package.File(header, channels) as file:
        file.write(str(path))


def read_exr_tags(path: Path) -> dict[str, str]:
    """The text attributes of an EXR file. Raises ValueError as `read_exr`."""
    package = _package()
    try:
        with package.File(os.fspath(path), header_only=True) as file:
            return {name: value for name, value in file.header().items() if isinstance(value, str)}
    except (RuntimeError, OSError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected an EXR file that can be read, found none") from error


def exr_folder(folder: Path) -> list[Path]:
    """The frames of a folder: its `*.exr` files in lexicographic order. Raises ValueError where there is none."""
    paths = sorted(path for path in folder.glob("*.exr") if path.is_file())
    if not paths:
        raise ValueError(f"{folder}: expected a folder with .exr files, found none")
    return paths


def read_exr_frames(paths: Sequence[Path], *, start: int = 0, count: int | None = None) -> Tensor:
    """The frames `start` … `start + count` (to the end where None) of a sequence: float32 (f, h, w, 3).

    Raises ValueError for none left, and for frames of different sizes.
    """
    chosen = paths[start : None if count is None else start + count]
    if not chosen:
        raise ValueError(f"EXR sequence: expected more than {start} frames, found {len(paths)}")
    frames = [read_exr(path) for path in chosen]
    odd = next((path for path, frame in zip(chosen, frames, strict=True) if frame.shape != frames[0].shape), None)
    if odd is not None:
        raise ValueError(f"{odd}: expected the size of {chosen[0].name}; give frames of one size")
    return torch.stack(frames)


def prepare_exr_clip(frames: Tensor, space: SourceSpace, height: int, width: int) -> Tensor:
    """Frames (f, h, w, 3), one for a still, scaled to cover a stage and cropped: (1, 3, f, height, width) in [-1, 1].

    Scaled as they are in the file, then encoded to ACEScct.
    """
    return _to_vae(fill_and_crop(frames, height, width), space)


def prepare_exr_reference(frames: Tensor, space: SourceSpace, height: int, width: int) -> Tensor:
    """Frames (f, h, w, 3) of a reference, fitted into the stage and padded; otherwise as `prepare_exr_clip`."""
    return _to_vae(fit_and_pad(frames, height, width), space)


def _to_vae(frames: Tensor, space: SourceSpace) -> Tensor:
    return frames_first(from_unit_range(to_codes(frames, space)))


def exr_available() -> None:
    """Raises ValueError, one line, without the extra `exr`."""
    _package()


def _package() -> ModuleType:
    try:
        return import_module("OpenEXR")
    except ImportError as error:
        raise ValueError("EXR: the OpenEXR package is missing; pip install 'openltx[exr]'") from error


def _check_header(package: Any, name: str, parts: Sequence[Any]) -> None:
    if len(parts) != 1:
        raise ValueError(f"{name}: expected one part, found {len(parts)}; export a single-part file")
    if parts[0].type() not in (package.scanlineimage, package.tiledimage):
        raise ValueError(f"{name}: expected a flat image, found deep data; export a flat one")
    low, high = parts[0].header["dataWindow"]
    width, height = (int(b) - int(a) + 1 for a, b in zip(low, high, strict=True))
    if not (1 <= width <= LONGEST_SIDE and 1 <= height <= LONGEST_SIDE):
        raise ValueError(f"{name}: expected at most {LONGEST_SIDE} pixels a side, found {width}x{height}")


def _rgb(name: str, channels: dict[str, npt.NDArray[Any]]) -> Tensor:
    names = list(channels) * 3 if len(channels) == 1 else list("RGB")
    wanted = [channels[letter] for letter in names if letter in channels]
    if len(wanted) != 3 or len({plane.shape for plane in wanted}) != 1:
        raise ValueError(f"{name}: expected the channels R, G and B of one size, found {', '.join(channels)}")
    planes = [torch.from_numpy(np.asarray(plane, dtype=np.float32)) for plane in wanted]
    return torch.stack(planes, dim=-1)
