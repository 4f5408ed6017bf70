"""Opening a weights file, safetensors or GGUF: its header is read and checked, no tensor data is touched."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from .collector import uncollected
from .gguf.file import open_gguf
from .safetensors_header import MAX_HEADER_BYTES, parse_header
from .safetensors_header import TensorEntry as TensorEntry
from .weights_file import Checkpoint as Checkpoint
from .weights_file import CheckpointError as CheckpointError

LFS_MAGIC = b"version https://git-lfs"
GGUF_MAGIC = b"GGUF"
PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04")  # zip archives of torch.save, bare pickles


@contextmanager
def open_tensors(path: Path) -> Iterator[Any]:
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as handle:
        yield handle


@uncollected()
def open_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read the header of a safetensors or GGUF file; no tensor data is touched.

    Raises CheckpointError, one line, for: a missing file, a folder, a Git-LFS pointer, a pickle, something that is
    neither format, a header that is damaged in any way, a file that is shorter or longer than its header says.
    """
    file = Path(path)
    size = _size(file)
    with _opened(file) as stream:
        start = stream.read(len(LFS_MAGIC))
    _refuse_foreign(file, start, size)
    if start.startswith(GGUF_MAGIC):
        return open_gguf(file)
    raw, data_bytes = _read_header(file, size)
    try:
        metadata, entries = parse_header(raw, data_bytes=data_bytes)
    except ValueError as error:
        raise CheckpointError(f"{file}: {error}") from error
    weights = {name: entry for name, entry in entries.items() if not name.startswith("@")}
    return Checkpoint(path=file, metadata=metadata, entries=weights, data_start=size - data_bytes)


def _size(file: Path) -> int:
    try:
        exists, is_file = file.exists(), file.is_file()
    except (OSError, ValueError) as error:  # a name that is too long, or with a zero byte
        raise CheckpointError(f"{file!r}: no such file ({error}); check the path") from error
    if not exists:
        raise CheckpointError(f"{file}: no such file; check the path, or see 'openltx download'")
    if not is_file:
        raise CheckpointError(f"{file}: expected a .safetensors file, found a folder")
    return file.stat().st_size


def _opened(file: Path) -> BinaryIO:
    try:
        return file.open("rb")
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be opened ({error.strerror}); check its permissions") from error


def _refuse_foreign(file: Path, start: bytes, size: int) -> None:
    if start.startswith(LFS_MAGIC):
        raise CheckpointError(
            f"{file}: a Git-LFS pointer of {size} bytes instead of weights; run 'git lfs pull' "
            "in its repository or download the file itself"
        )
    if start.startswith(PICKLES) and start[8:9] != b"{":  # a header of 640 bytes begins like a pickle, too
        raise CheckpointError(
            f"{file}: a pickle, not a safetensors file; pickles can run any code and are never opened, "
            "get the .safetensors file"
        )
    if len(start) < 8:
        raise CheckpointError(f"{file}: {size} bytes are too few for a safetensors file; download it again")


def _read_header(file: Path, size: int) -> tuple[bytes, int]:
    """The JSON text of a header and the number of bytes behind it."""
    with _opened(file) as stream:
        start = stream.read(9)
        length = int.from_bytes(start[:8], "little")
        if length > MAX_HEADER_BYTES or length < 2 or start[8:9] not in (b"{", b""):
            raise CheckpointError(f"{file}: not a safetensors file; weights are read from .safetensors and .gguf only")
        if 8 + length > size:
            raise CheckpointError(
                f"{file}: its header claims {length} bytes, the file has {size}; the download is "
                "incomplete, fetch it again"
            )
        stream.seek(8)
        return stream.read(length), size - 8 - length
