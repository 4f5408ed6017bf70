"""Files and folders that appear whole or not at all: written in a hidden folder beside the target, then renamed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from pathlib import Path

from .workplace import to_disk, work_folder


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


# Changes a finished file; gives a second one that belongs beside it, or None. The second one's name is the first one's
# with something added.
Finish = Callable[[Path], "Path | None"]


@contextmanager
def whole_file(path: Path, finish: Finish | None = None) -> Iterator[Path]:
    """A temporary name to write to. It becomes `path` when the block ends well; a failure leaves `path` as it was.

    finish: called with the whole file before it gets its name (content credentials).
    """
    with room_on_disk(path), work_folder(path.parent) as folder:
        temporary = folder / f"partial{path.suffix}"
        yield temporary
        beside = None if finish is None else finish(temporary)
        to_disk(temporary)
        os.replace(temporary, path)
        if beside is not None:
            os.replace(beside, path.with_name(path.name + beside.name.removeprefix(temporary.name)))


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A temporary folder to fill. It becomes `path` when the block ends well; a failure leaves nothing."""
    with room_on_disk(path), work_folder(path.parent) as folder:
        temporary = folder / "partial"
        temporary.mkdir()
        yield temporary
        os.replace(temporary, path)


@contextmanager
def room_on_disk(path: Path) -> Iterator[None]:
    """A full disk is the user's matter: one line."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise ValueError(
            f"{path}: expected room on the disk, found none ({path.parent} is full); free some space or choose another "
            "output folder; nothing was written"
        ) from error


def _check_parent(path: Path) -> None:
    if not path.parent.is_dir():
        raise ValueError(f"{path.parent}: no such folder; create it or choose another output file")
    try:
        with work_folder(path.parent):
            pass
    except OSError as error:
        raise ValueError(
            f"{path.parent}: cannot be written ({error.strerror}); choose another output folder"
        ) from error
