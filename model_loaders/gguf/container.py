"""The header of a GGUF file, versions 2 and 3, little endian (quantization.md section 7.1).

Every length is held against what is left of the file before it is used: a damaged count costs nothing.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from ..weights_file import CheckpointError
from .blocks import TYPES

VERSIONS = (2, 3)
ALIGNMENT = "general.alignment"
DEFAULT_ALIGNMENT = 32
MAX_ALIGNMENT = 2**20
MAX_AXES = 8
MAX_NAME = 4096
KEPT_ELEMENTS = 1024  # longer arrays are token tables, which nothing here reads
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
SMALLEST_PAIR, SMALLEST_TENSOR = 13, 24  # bytes of an entry with an empty name
AGAIN = "the file is damaged, download it again"


@dataclass(frozen=True, kw_only=True)
class GGUFTensor:
    """One row of the table: block type by name, shape in torch's order, its bytes counted from the file's start."""

    type: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class GGUFHeader:
    """Fields (numbers, texts, short lists) and tensors in the order of their bytes."""

    fields: dict[str, Any]
    tensors: dict[str, GGUFTensor]


def read_header(path: Path) -> GGUFHeader:
    """Raises CheckpointError, one line, for damage, and for a block type that is not in the table, by its number."""
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return _header(_Reader(data))
        except (ValueError, struct.error) as error:
            raise CheckpointError(f"{path}: {error}") from error


class _Reader:
    """A position in the mapped file; nothing is read beyond its end."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.position = 4  # behind the magic

    @property
    def left(self) -> int:
        return len(self.data) - self.position

    def take(self, count: int, what: str) -> bytes:
        if count > self.left:
            raise ValueError(f"expected {count} bytes of {what}, found {max(self.left, 0)}; {AGAIN}")
        self.position += count
        return self.data[self.position - count : self.position]

    def number(self, code: str, what: str) -> Any:
        return struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}"), what))[0]

    def text(self, what: str) -> str:
        length = self.number("Q", what)
        try:
            return self.take(length, what).decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"expected UTF-8 as {what}, found something else; {AGAIN}") from error

    def name(self, what: str) -> str:
        name = self.text(what)
        if len(name) > MAX_NAME:
            raise ValueError(f"expected {what} of at most {MAX_NAME} characters, found {len(name)}; {AGAIN}")
        return name

    def count(self, smallest: int, what: str) -> int:
        """A number of entries that the rest of the file can hold."""
        count: int = self.number("Q", what)
        if count * smallest > self.left:
            raise ValueError(f"expected room for {count} {what}, found {self.left} bytes; {AGAIN}")
        return count


def _header(reader: _Reader) -> GGUFHeader:
    version = reader.number("I", "a version")
    if version not in VERSIONS:
        raise ValueError(f"expected GGUF version 2 or 3, found {version}; convert the file again")
    num_tensors = reader.count(SMALLEST_TENSOR, "tensors")
    num_fields = reader.count(SMALLEST_PAIR, "fields")
    fields: dict[str, Any] = {}
    for _ in range(num_fields):
        key = reader.name("a field's name")
        if key in fields:
            raise ValueError(f"field {key[:80]!r} occurs twice; {AGAIN}")
        fields[key] = _value(reader, reader.number("I", "a field's type"), key)
    rows: dict[str, tuple[str, tuple[int, ...], int]] = {}
    for _ in range(num_tensors):
        name = reader.name("a tensor's name")
        if name in rows:
            raise ValueError(f"tensor {name[:80]!r} occurs twice; {AGAIN}")
        rows[name] = _row(reader, name)
    alignment = _alignment(fields)
    start = -(-reader.position // alignment) * alignment
    return GGUFHeader(fields=fields, tensors=_placed(rows, start, alignment, len(reader.data)))


def _value(reader: _Reader, kind: int, key: str) -> Any:
    if kind in SCALARS:
        return reader.number(SCALARS[kind], key[:80])
    if kind == STRING:
        return reader.text(f"field {key[:80]!r}")
    if kind == ARRAY:
        return _array(reader, key)
    raise ValueError(f"field {key[:80]!r}: expected a type from 0 to 12, found {kind}; {AGAIN}")


def _array(reader: _Reader, key: str) -> list[Any] | None:
    """The elements of a short array; None for a long one, which is walked past."""
    kind = reader.number("I", "an array's type")
    if kind == STRING:
        count = reader.count(8, f"texts of field {key[:80]!r}")
        texts = []
        for _ in range(count):
            length = reader.number("Q", "a text")
            text = reader.take(length, "a text")
            if count <= KEPT_ELEMENTS:
                texts.append(text.decode("utf-8", "replace"))
        return texts if count <= KEPT_ELEMENTS else None
    if kind not in SCALARS:
        raise ValueError(f"field {key[:80]!r}: expected an array of numbers or texts, found type {kind}; {AGAIN}")
    size = struct.calcsize(SCALARS[kind])
    count = reader.count(size, f"elements of field {key[:80]!r}")
    if count > KEPT_ELEMENTS:
        reader.position += count * size
        return None
    return list(struct.unpack(f"<{count}{SCALARS[kind]}", reader.take(count * size, "an array")))


def _row(reader: _Reader, name: str) -> tuple[str, tuple[int, ...], int]:
    """Type, shape in torch's order, offset in the data section."""
    axes = reader.number("I", "a number of axes")
    if axes > MAX_AXES:
        raise ValueError(f"tensor {name[:80]!r}: expected at most {MAX_AXES} axes, found {axes}; {AGAIN}")
    shape = tuple(reader.number("Q", "a size") for _ in range(axes))[::-1]
    number = reader.number("I", "a type")
    if number not in TYPES:
        known = ", ".join(block.name for block in TYPES.values())
        raise ValueError(
            f"tensor {name[:80]!r}: expected one of the block types {known}, found type {number}; "
            "use a file in another quantisation"
        )
    return TYPES[number].name, shape, reader.number("Q", "an offset")


def _alignment(fields: dict[str, Any]) -> int:
    alignment = fields.get(ALIGNMENT, DEFAULT_ALIGNMENT)
    if type(alignment) is not int or not 0 < alignment <= MAX_ALIGNMENT or alignment & (alignment - 1):
        raise ValueError(f"expected {ALIGNMENT} as a power of two, found {str(alignment)[:40]}; {AGAIN}")
    return alignment


def _placed(
    rows: dict[str, tuple[str, tuple[int, ...], int]], start: int, alignment: int, size: int
) -> dict[str, GGUFTensor]:
    blocks = {block.name: block for block in TYPES.values()}
    placed: dict[str, GGUFTensor] = {}
    for name, (kind, shape, offset) in rows.items():
        block = blocks[kind]
        if (shape[-1] if shape else 1) % block.elements:
            raise ValueError(
                f"tensor {name[:80]!r}: expected rows of a multiple of {block.elements} elements in {kind}, "
                f"found {shape}; {AGAIN}"
            )
        end = start + offset + prod(shape) // block.elements * block.bytes
        if offset % alignment:
            raise ValueError(f"tensor {name[:80]!r}: expected an offset by {alignment}, found {offset}; {AGAIN}")
        if end > size:
            raise ValueError(
                f"truncated: tensor {name[:80]!r} ends at byte {end}, the file has {size}; the download is "
                "incomplete, fetch it again"
            )
        placed[name] = GGUFTensor(type=kind, shape=shape, start=start + offset, end=end)
    ordered = dict(sorted(placed.items(), key=lambda item: (item[1].start, item[1].end)))
    before, reached = "", start
    for name, tensor in ordered.items():
        if tensor.start < reached:
            raise ValueError(f"tensor {name[:80]!r} overlaps {before[:80]!r}; {AGAIN}")
        before, reached = name, tensor.end
    return ordered
