"""Files and folders that appear whole or not at all: written under a temporary name beside the target, then renamed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path


def check_file(path: Path, suffixes: Container[str]) -> None:
    """ValueError, one line, unless a file of this name can be written; nothing is created that stays."""
    if path.suffix.lower() not in suffixes:
        known = ", ".join(suffixes) if isinstance(suffixes, (dict, tuple, list)) else "a known suffix"
        raise ValueError(f"{path}: expected a name ending in {known}; choose one of these")
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; choose a file name")
    _check_parent(path)


def check_folder(path: Path) -> None:
    """ValueError, one line, unless a folder of this name can be made; it may exist when it is empty."""
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise ValueError(f"{path}: is there already; choose another name")
    _check_parent(path)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary name to write to. It becomes `path` when the block ends well; a failure leaves `path` as it was."""
    handle, name = tempfile.mkstemp(prefix=f".{path.stem[:40]}.", suffix=f".partial{path.suffix}", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes files that only their owner reads
        _to_disk(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A temporary folder to fill. It becomes `path` when the block ends well; a failure leaves nothing."""
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name[:40]}.", suffix=".partial", dir=path.parent))
    try:
        yield temporary
        os.chmod(temporary, 0o777 & ~_umask())
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_parent(path: Path) -> None:
    if not path.parent.is_dir():
        raise ValueError(f"{path.parent}: no such folder; create it or choose another output file")
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.stem[:40]}.", suffix=".probe", dir=path.parent)
    except OSError as error:
        raise ValueError(
            f"{path.parent}: cannot be written ({error.strerror}); choose another output folder"
        ) from error
    os.close(handle)
    os.unlink(name)


def _to_disk(path: Path) -> None:
    """A file renamed before its bytes are on the disk may be empty after a power cut."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
