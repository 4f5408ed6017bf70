"""JSON texts for kinds of file whose muxer writes none: a GIF's comment, a WebP's EXIF as ComfyUI writes it."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from ..given_text import parse_json

EXIF_FIRST = 0x0110  # `prompt:{…}` there, further ones in the entries below it: where ComfyUI's front end looks
EXIF_FLAG = 0x08  # of a VP8X chunk


def write_late_texts(path: Path, texts: Mapping[str, str]) -> None:
    """Add texts to a finished .gif or .webp file; it is rewritten beside itself first."""
    changed = path.with_name(f"texts{path.suffix}")
    if path.suffix.lower() == ".gif":
        _comment_gif(path, changed, json.dumps(dict(texts)).encode())
    else:
        changed.write_bytes(_webp_with_exif(path, texts))
    os.replace(changed, path)


def read_late_texts(path: Path) -> dict[str, str]:
    """The texts of a .gif or .webp file; none for other people's. Raises what Pillow raises for a broken file."""
    with Image.open(path) as image:
        if path.suffix.lower() == ".gif":
            return comment_texts(bytes(image.info.get("comment", b"")).decode(errors="replace"))
        entries = [value for value in image.getexif().values() if isinstance(value, str)]
    named = (entry.partition(":") for entry in entries)
    return {name: text for name, separator, text in named if separator}


def comment_texts(comment: str) -> dict[str, str]:
    """Texts that were put into one comment, as JSON; none for other people's comments."""
    try:
        found = parse_json(comment)
    except json.JSONDecodeError:
        return {}
    ours = isinstance(found, dict) and all(isinstance(text, str) for text in found.values())
    return found if ours else {}


def _comment_gif(source: Path, target: Path, comment: bytes) -> None:
    """Before the first picture: readers that look at one picture see it."""
    with source.open("rb") as old, target.open("wb") as new:
        header = old.read(13)
        flags = header[10]
        palette = old.read(3 * 2 ** ((flags & 7) + 1)) if flags & 0x80 else b""
        pieces = [comment[first : first + 255] for first in range(0, len(comment), 255)]
        blocks = b"".join(bytes([len(piece)]) + piece for piece in pieces)
        new.write(header + palette + b"!\xfe" + blocks + b"\0")
        shutil.copyfileobj(old, new)


def _webp_with_exif(path: Path, texts: Mapping[str, str]) -> bytes:
    data, chunks = path.read_bytes(), []
    place = 12
    while place + 8 <= len(data):
        kind, size = data[place : place + 4], struct.unpack_from("<I", data, place + 4)[0]
        chunks.append((kind, data[place + 8 : place + 8 + size]))
        place += 8 + size + size % 2
    if chunks[0][0] != b"VP8X":  # a single picture has none, and without it no EXIF
        with Image.open(path) as image:
            width, height = image.size
        sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        chunks.insert(0, (b"VP8X", bytes(4) + sizes))
    chunks[0] = (b"VP8X", bytes([chunks[0][1][0] | EXIF_FLAG]) + chunks[0][1][1:])
    chunks.append((b"EXIF", _exif(texts)))
    body = b"".join(kind + struct.pack("<I", len(part)) + part + bytes(len(part) % 2) for kind, part in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _exif(texts: Mapping[str, str]) -> bytes:
    exif = Image.Exif()
    first = {name: texts[name] for name in ("prompt",) if name in texts}
    for offset, (name, text) in enumerate((first | dict(texts)).items()):
        # EXIF texts are ASCII; in JSON, which these are, an escape means the same
        plain = "".join(letter if letter.isascii() else json.dumps(letter)[1:-1] for letter in text)
        exif[EXIF_FIRST - offset] = f"{name}:{plain}"
    return exif.tobytes().removeprefix(b"Exif\0\0")
