"""A hidden folder beside the target, to write in; it is removed at the end, also after a kill: by the next writer.

A folder is in use as long as a process holds the lock on a file in it. The system lets go of it however the process
ends, and no process number can be mistaken for another machine's.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

PREFIX, LOCK = ".openltx-", "lock"
NEW = 60.0  # seconds that a folder may stand without its lock, while somebody makes it

_own: set[Path] = set()  # some network file systems do not keep a process from a lock of its own


@contextmanager
def work_folder(parent: Path) -> Iterator[Path]:
    """A new folder in `parent`, removed when the block ends; before, those that dead processes left there are removed.

    Raises OSError where none can be made.
    """
    sweep(parent)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    _own.add(folder)
    try:
        with (folder / LOCK).open("wb") as lock:
            if _locked(lock):
                lock.write(b"1")  # a lock without content is never broken: this file system may have none
                lock.flush()
            yield folder
    finally:
        _remove(folder)
        _own.discard(folder)


def sweep(parent: Path) -> None:
    """Remove the work folders in `parent` that no process holds any more. Never raises."""
    with suppress(OSError):
        for folder in [entry for entry in parent.iterdir() if entry.name.startswith(PREFIX)]:
            if folder not in _own and _abandoned(folder):
                _remove(folder)


def _abandoned(folder: Path) -> bool:
    try:
        if not any(folder.iterdir()):
            return time.time() - folder.stat().st_mtime > NEW
        if (folder / LOCK).stat().st_size == 0:
            return False
        with (folder / LOCK).open("rb+") as lock:
            return _locked(lock)
    except OSError:  # somebody else was faster, or it is no folder of ours
        return False


def _remove(folder: Path) -> None:
    """The lock last: who is killed in between leaves a folder that the next one can tell."""
    with suppress(OSError):
        for entry in [entry for entry in folder.iterdir() if entry.name != LOCK]:
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)
        (folder / LOCK).unlink(missing_ok=True)
        folder.rmdir()


def _locked(file: IO[bytes]) -> bool:
    """Take the lock until `file` is closed; False where another process has it, or where there are no locks."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def to_disk(path: Path) -> None:
    """A file renamed before its bytes are on the disk may be empty after a power cut."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
