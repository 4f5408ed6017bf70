"""A safetensors file seen through its header: names, shapes, dtypes, metadata; tensors are memory-mapped on demand."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

MAX_HEADER_BYTES = 100 * 2**20
LFS_MAGIC = b"version https://git-lfs"


class CheckpointError(ValueError):
    """A file that cannot be used as weights; the message is one line: expected, found, what to do."""


@dataclass(frozen=True, kw_only=True)
class TensorEntry:
    """One row of a safetensors header."""

    dtype: str  # safetensors spelling: "F32", "BF16", "F8_E4M3", …
    shape: tuple[int, ...]
    start: int  # bytes, counted from the end of the header
    end: int


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One opened file. `entries` leaves out the `@…` tensors of golden cases: they are not weights."""

    path: Path
    metadata: dict[str, str]
    entries: dict[str, TensorEntry]

    @cached_property
    def config(self) -> dict[str, Any]:
        """The JSON object under `config` in the metadata; empty when there is none."""
        text = self.metadata.get("config")
        if text is None:
            return {}
        try:
            config = json.loads(text)
        except json.JSONDecodeError as error:
            raise CheckpointError(
                f"{self.path}: expected JSON in the metadata entry 'config', found {error}; the file is damaged"
            ) from error
        if not isinstance(config, dict):
            raise CheckpointError(f"{self.path}: expected a JSON object in the metadata entry 'config'")
        return config

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: entry.shape for name, entry in self.entries.items()}

    def names(self, prefix: str = "") -> list[str]:
        """Tensor names that start with `prefix`, in file order."""
        return [name for name in self.entries if name.startswith(prefix)]

    def load(self, names: list[str]) -> dict[str, Tensor]:
        """The named tensors, memory-mapped, in the dtype of the file, on the CPU."""
        with open_tensors(self.path) as handle:
            return {name: handle.get_tensor(name) for name in names}


@contextmanager
def open_tensors(path: Path) -> Iterator[Any]:
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as handle:
        yield handle


def open_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read the header of a safetensors file; no tensor data is touched.

    Raises CheckpointError, one line, for: a missing file, a folder, a Git-LFS pointer, something that is no
    safetensors file, a header longer than the file, a file shorter than its header says.
    """
    file = Path(path)
    header = _read_header(file)
    metadata = header.pop("__metadata__", {})
    entries = {
        name: TensorEntry(
            dtype=row["dtype"],
            shape=tuple(row["shape"]),
            start=row["data_offsets"][0],
            end=row["data_offsets"][1],
        )
        for name, row in sorted(header.items(), key=lambda item: item[1]["data_offsets"][0])
        if not name.startswith("@")
    }
    return Checkpoint(path=file, metadata=metadata, entries=entries)


def _read_header(file: Path) -> dict[str, Any]:
    if not file.exists():
        raise CheckpointError(f"{file}: no such file; check the path, or see 'openltx download'")
    if not file.is_file():
        raise CheckpointError(f"{file}: expected a .safetensors file, found a folder")
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(max(9, len(LFS_MAGIC)))
        if start.startswith(LFS_MAGIC):
            raise CheckpointError(
                f"{file}: a Git-LFS pointer of {size} bytes instead of weights; run 'git lfs pull' "
                "in its repository or download the file itself"
            )
        if len(start) < 8:
            raise CheckpointError(f"{file}: {size} bytes are too few for a safetensors file; download it again")
        (length,) = struct.unpack("<Q", start[:8])
        if length > MAX_HEADER_BYTES or length < 2 or start[8:9] not in (b"{", b""):
            raise CheckpointError(f"{file}: not a safetensors file; weights are read from .safetensors only")
        if 8 + length > size:
            raise CheckpointError(
                f"{file}: its header claims {length} bytes, the file has {size}; the download is "
                "incomplete, fetch it again"
            )
        stream.seek(8)
        raw = stream.read(length)
    return _parse_header(file, raw, data_bytes=size - 8 - length)


def _parse_header(file: Path, raw: bytes, *, data_bytes: int) -> dict[str, Any]:
    try:
        header = json.loads(raw)
        needed = max((row["data_offsets"][1] for name, row in header.items() if name != "__metadata__"), default=0)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise CheckpointError(
            f"{file}: not a safetensors file (its header is no valid JSON table); weights are read from "
            ".safetensors only"
        ) from error
    if needed > data_bytes:
        raise CheckpointError(
            f"{file}: truncated: {needed} bytes of tensors expected, {data_bytes} found; the download is "
            "incomplete, fetch it again"
        )
    assert isinstance(header, dict)
    return header
