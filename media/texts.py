"""The texts that a saved file carries, whatever its kind."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, UnidentifiedImageError

from .av_reader import read_tags
from .exr import read_exr_tags
from .late_texts import comment_texts, read_late_texts


def read_texts(path: Path) -> dict[str, str]:
    """By name, in lower case; of a folder with a sequence those of its first file. ValueError for other files."""
    if path.is_dir():
        files = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in _SEQUENCES)
        if not files:
            raise ValueError(f"{path}: expected a folder with {' or '.join(_SEQUENCES)} files, found none")
        path = files[0]
    return _READERS.get(path.suffix.lower(), read_tags)(path)


def _commented(path: Path) -> dict[str, str]:
    found = read_tags(path)
    return found | comment_texts(found.get("comment", ""))


def _picture_texts(path: Path) -> dict[str, str]:
    try:
        if path.suffix.lower() != ".png":
            return read_late_texts(path)
        with Image.open(path) as image:
            return {name.lower(): text for name, text in image.info.items() if isinstance(text, str)}
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{path}: expected an image that can be read, found none ({error})") from error


_SEQUENCES = {".png": _picture_texts, ".exr": read_exr_tags}
_READERS = {**_SEQUENCES, ".gif": _picture_texts, ".webp": _picture_texts, ".wav": _commented}
