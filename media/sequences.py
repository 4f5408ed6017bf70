"""Frames as a folder of numbered files: PNG (8 bit, sRGB) and EXR (half float); one frame in memory at a time."""

# F frames, H W rows, columns
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from PIL import Image, PngImagePlugin
from torch import Tensor

from .colour import rgb_to_rgb24
from .exr import exr_available, write_exr
from .hdr import SourceSpace
from .targets import Finish, check_folder, whole_folder

NAME = "frame_{:05}"  # spec media_io.md 5.4


def write_png_sequence(
    folder: Path,
    frames: Iterable[Tensor],
    *,
    tags: Mapping[str, str] | None = None,
    finish: Finish | None = None,
) -> Path:
    """Write chunks (F, H, W, 3) float in [0, 1] as `folder`/frame_00000.png …; returns `folder`.

    tags: texts for every file. finish: called with each file (targets.Finish). The folder appears whole or not at
    all. Raises ValueError for a folder that is there already, or cannot be made, and for no frames.
    """
    texts = png_texts(tags or {})

    def write(path: Path, frame: Tensor) -> None:
        Image.fromarray(rgb_to_rgb24(frame)).save(path, pnginfo=texts, compress_level=4)

    return _write(folder, frames, ".png", write, finish)


def write_exr_sequence(
    folder: Path,
    frames: Iterable[Tensor],
    space: SourceSpace,
    *,
    tags: Mapping[str, str] | None = None,
    finish: Finish | None = None,
) -> Path:
    """Write chunks (F, H, W, 3) of the values that `space` names (hdr.from_codes) as frame_00000.exr …

    As `write_png_sequence`; ValueError without the extra `exr`, too.
    """
    exr_available()
    return _write(folder, frames, ".exr", lambda path, frame: write_exr(path, frame, space, tags), finish)


def png_texts(tags: Mapping[str, str]) -> PngImagePlugin.PngInfo:
    """Texts as PNG chunks, as ComfyUI writes and reads them."""
    texts = PngImagePlugin.PngInfo()
    for name, text in tags.items():
        texts.add_text(name, text)
    return texts


def _write(
    folder: Path,
    frames: Iterable[Tensor],
    suffix: str,
    write: Callable[[Path, Tensor], None],
    finish: Finish | None,
) -> Path:
    check_folder(folder)
    with whole_folder(folder) as temporary:
        count = 0
        for chunk in frames:
            for index in range(len(chunk)):
                path = temporary / f"{NAME.format(count + index)}{suffix}"
                write(path, chunk[index])
                if finish is not None:
                    finish(path)
            count += len(chunk)
            del chunk  # before the next one is made: two at a time would be twice the memory
        if not count:
            raise ValueError("frames: expected at least one frame, found none")
    return folder
