"""Where a host keeps the state of long runs, so that one that is killed can be gone on with. No torch, no host.

Names are digests of what a run computes: whoever computes the same writes the same, so workers that share a folder need
no locks. A file appears whole, under its name, or not at all. A state that cannot be written never ends a run.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ...media.workplace import to_disk

NAME = ".openltx_state"
STEP, DONE = "step", "done"  # kinds: the last finished step of a stage; its result
SUFFIX, PARTIAL = ".safetensors", ".part"
MOST = 8 * 2**30  # bytes of all states in a folder
OLD, DEAD = 7 * 86400.0, 3600.0  # seconds after which states, and files that nobody finished, are removed


class StateFolder:
    """The states below `parent`.

    after: seconds of expected work from which on a stage's steps are kept; None: as its node says. resume: whether what
    an earlier run has left is gone on with. most: bytes of all states together.
    """

    def __init__(self, parent: Path, *, after: float | None = None, resume: bool = True, most: int = MOST) -> None:
        self.folder, self.after, self.resume, self.most = parent / NAME, after, resume, most
        self._used: set[str] = set()

    def found(self, key: str, kind: str) -> Path | None:
        """A state of this content that an earlier run, or an earlier part of this one, has left."""
        path = self._path(key, kind)
        if not path.is_file():
            return None
        self._used.add(key)
        return path

    def put(self, key: str, kind: str, size: int, write: Callable[[Path], None]) -> str | None:
        """Let `write` make the file of a state of about `size` bytes. Why it could not be, or None."""
        self._used.add(key)
        path = self._path(key, kind)
        partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PARTIAL}")
        try:
            self.folder.mkdir(exist_ok=True)
            self._sweep()
            if (problem := self._full(path, size)) is not None:
                return problem
            write(partial)
            to_disk(partial)
            os.replace(partial, path)
        except OSError as error:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            return f"{self.folder} cannot be written ({error.strerror or error})"
        return None

    def drop(self, key: str, kind: str) -> None:
        """Remove a state, and what writers of it have left half done."""
        path = self._path(key, kind)
        with suppress(OSError):
            for entry in self.folder.glob(f"{path.name}*"):
                entry.unlink(missing_ok=True)

    def clean(self, kind: str = "") -> None:
        """Remove the states that were used here, all or those of a kind: the run is done."""
        for key in self._used:
            with suppress(OSError):
                for entry in self.folder.glob(f"{key}.{kind}*"):
                    entry.unlink(missing_ok=True)
        self._used.clear()
        with suppress(OSError):
            self.folder.rmdir()  # if nobody else has a state there

    def _path(self, key: str, kind: str) -> Path:
        return self.folder / f"{key}.{kind}{SUFFIX}"

    def _full(self, path: Path, size: int) -> str | None:
        others = sum(entry.stat().st_size for entry in self.folder.iterdir() if entry != path)
        if others + size > self.most:
            return f"{self.folder} would hold more than {self.most / 2**30:.3g} GiB"
        if 2 * size > shutil.disk_usage(self.folder).free:
            return f"{self.folder} has no room for {size / 2**20:.0f} MiB"
        return None

    def _sweep(self) -> None:
        now = time.time()
        for entry in self.folder.iterdir():
            with suppress(OSError):
                age = now - entry.stat().st_mtime
                if age > (DEAD if entry.suffix == PARTIAL else OLD):
                    entry.unlink()
