"""The clips of a folder: media files, each with its caption in a .txt of the same name or in captions.jsonl."""

from __future__ import annotations

import mimetypes
from dataclasses import dataclass
from pathlib import Path

from ...given_text import parse_json

CAPTIONS = "captions.jsonl"  # lines {"file": "a.mp4", "caption": "…"}


@dataclass(frozen=True, kw_only=True)
class DataClip:
    """reference: the clip of the same name that an IC-LoRA is shown."""

    media: Path
    caption: str
    reference: Path | None = None

    @property
    def is_picture(self) -> bool:
        return is_picture(self.media)


def find_clips(folder: Path, references: Path | None = None) -> list[DataClip]:
    """In the order of their names. ValueError, one line, for an empty folder, a clip without caption or reference."""
    media = media_files(folder)
    if not media:
        raise ValueError(f"{folder}: expected videos or pictures, found none; put the clips there")
    listed = _listed(folder)
    shown = {} if references is None else {path.stem: path for path in media_files(references)}
    for name in listed:
        if folder / name not in media:
            raise ValueError(f"{folder / CAPTIONS}: expected files of this folder, found {name!r}; remove its line")
    clips = [DataClip(media=path, caption=_caption(path, listed), reference=shown.get(path.stem)) for path in media]
    for clip in clips:
        if references is not None and clip.reference is None:
            raise ValueError(f"{clip.media}: expected a reference {clip.media.stem}.* in {references}, found none")
    return clips


def media_files(folder: Path) -> list[Path]:
    """Videos and pictures right in a folder. ValueError where there is none."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: expected a folder with clips, found none; check the path")
    return sorted(path for path in folder.iterdir() if _kind(path) in ("video", "image"))


def is_picture(path: Path) -> bool:
    return _kind(path) == "image" and path.suffix.lower() != ".gif"


def _kind(path: Path) -> str:
    return (mimetypes.guess_type(path.name)[0] or "").partition("/")[0]


def _caption(media: Path, listed: dict[str, str]) -> str:
    beside = media.with_suffix(".txt")
    text = _read(beside) if beside.is_file() else listed.get(media.name, "")
    if not text.strip():
        raise ValueError(f"{media}: expected a caption in {beside.name} or {CAPTIONS}, found none; write one")
    return text.strip()


def _listed(folder: Path) -> dict[str, str]:
    """{file name: caption} of captions.jsonl; empty without one."""
    path = folder / CAPTIONS
    if not path.is_file():
        return {}
    rows: dict[str, str] = {}
    for number, line in enumerate(_read(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
            rows[str(row["file"])] = str(row["caption"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f'{path}: line {number}: expected {{"file": …, "caption": …}}, found {line.strip()[:60]!r}'
            ) from error
    return rows


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected text in UTF-8, found other bytes; save it as UTF-8") from error
