"""A hidden folder beside the target, to write in; it is removed at the end, also after a kill: by the next writer.

A file beside it, made first and removed last, is locked as long as its process lives. The system lets go of the lock
however the process ends, and no process number can be mistaken for another machine's. So at whatever moment a writer is
killed, the next one finds a lock file that nobody holds, and clears both away at once.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

PREFIX, LOCK = ".openltx-", ".lock"
NO_LOCKS = b"this file system has no locks: remove by hand"  # a lock file with content is never cleared away

_own: set[Path] = set()  # some network file systems do not keep a process from a lock of its own


@contextmanager
def work_folder(parent: Path) -> Iterator[Path]:
    """A new folder in `parent`, removed when the block ends; before, those that dead processes left there are removed.

    Raises OSError where none can be made.
    """
    sweep(parent)
    path, lock = _new_lock(parent)
    try:
        _folder_of(path).mkdir(mode=0o700)
        yield _folder_of(path)
    finally:
        _give_up(path, lock)


class Reservation:
    """A name that other processes leave alone, as long as this lives; a dead process's is void."""

    def __init__(self, path: Path, lock: IO[bytes]) -> None:
        self.close = weakref.finalize(self, _give_up, path, lock)


def reserved(parent: Path, name: str) -> Reservation | None:
    """Reserve a name in `parent`; None where somebody else has it. Raises OSError where nothing can be made."""
    path = parent / f"{PREFIX}{hashlib.sha256(os.path.normcase(name).encode()).hexdigest()[:24]}{LOCK}"
    if path not in _own:
        _remove_abandoned(path)
    lock = _locked_file(path)
    return None if lock is None else Reservation(path, lock)


def _give_up(path: Path, lock: IO[bytes]) -> None:
    _remove(path, lock)
    _own.discard(path)


def sweep(parent: Path) -> None:
    """Remove the work folders in `parent` that no process holds any more. Never raises."""
    with suppress(OSError):
        for path in [entry for entry in parent.iterdir() if entry.name.startswith(PREFIX) and entry.suffix == LOCK]:
            if path not in _own:
                _remove_abandoned(path)


def _new_lock(parent: Path) -> tuple[Path, IO[bytes]]:
    while True:
        path = parent / f"{PREFIX}{secrets.token_hex(6)}{LOCK}"
        lock = _locked_file(path)
        if lock is not None:
            return path, lock


def _locked_file(path: Path) -> IO[bytes] | None:
    """A new file, locked by this process; None where there is one, or a sweeper took it for a dead process's."""
    if path in _own:
        return None
    _own.add(path)
    try:
        lock = path.open("xb")
        held = _locked(lock)
        if _is_still(path, lock):
            if not held:
                lock.write(NO_LOCKS)
                lock.flush()
            return lock
        lock.close()
    except FileExistsError:
        pass
    except BaseException:
        _own.discard(path)
        raise
    _own.discard(path)
    return None


def _is_still(path: Path, file: IO[bytes]) -> bool:
    """Whether the open file still has its name."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except OSError:
        return False


def _folder_of(lock: Path) -> Path:
    return lock.with_suffix("")


def _remove_abandoned(path: Path) -> None:
    with suppress(OSError):  # somebody else was faster
        if path.stat().st_size == 0:
            lock = path.open("rb+")
            if _locked(lock) and _is_still(path, lock):  # names of reservations come again
                _remove(path, lock)
            else:
                lock.close()


def _remove(path: Path, lock: IO[bytes]) -> None:
    """The lock file last: who is killed in between leaves one that the next writer can tell."""
    shutil.rmtree(_folder_of(path), ignore_errors=True)
    done = not _folder_of(path).exists()
    if sys.platform == "win32":
        lock.close()  # an open file cannot be removed there
    with suppress(OSError):
        if done:
            path.unlink()
    lock.close()


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
