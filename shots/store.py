"""Finished pieces on disk, by the key of all that shapes them: bounded, seen by `openltx workflows cache`.

An entry is a folder named by its key; it appears whole or not at all, because it is renamed into place. `used` is the
time of its `told.json`. What was not used for longest makes room, never what this process has used.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER_VARIABLE, LIMIT_VARIABLE = "OPENLTX_CACHE", "OPENLTX_CACHE_GB"
USUAL_LIMIT = 20.0  # GB
TOLD, UNFINISHED = "told.json", "."
ABANDONED = 24 * 3600.0  # seconds after which an unfinished entry is nobody's any more


@dataclass(frozen=True, kw_only=True)
class Entry:
    """told: what its maker says of it. used: seconds since the epoch."""

    key: str
    path: Path
    bytes: int
    used: float
    told: Mapping[str, Any]


class Store:
    """limit: bytes of all entries."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit
        self._in_use: set[str] = set()

    def found(self, key: str) -> Path | None:
        """The folder of an entry, which counts as used now; None where there is none."""
        folder = self.folder / key
        if not (folder / TOLD).is_file():
            return None
        self._in_use.add(key)
        with suppress(OSError):
            os.utime(folder / TOLD)
        return folder

    def told(self, key: str) -> Mapping[str, Any] | None:
        """What the maker of an entry said, without using it; None where there is none or it cannot be read."""
        try:
            told: Mapping[str, Any] = json.loads((self.folder / key / TOLD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return told

    def put(self, key: str, told: Mapping[str, Any], write: Callable[[Path], None]) -> Path:
        """The folder of a new entry, whose files `write` makes in the folder that it is given.

        Where another process was faster, its entry stays. Raises OSError where the folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        beside = self.folder / f"{UNFINISHED}{key}.{uuid.uuid4().hex[:8]}"
        beside.mkdir()
        try:
            write(beside)
            (beside / TOLD).write_text(json.dumps(told), encoding="utf-8")
            with suppress(OSError):
                os.replace(beside, self.folder / key)
            if self.found(key) is None:  # something that is no entry stood there
                shutil.rmtree(self.folder / key, ignore_errors=True)
                os.replace(beside, self.folder / key)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        self._in_use.add(key)
        self.make_room()
        return self.folder / key

    def entries(self) -> list[Entry]:
        """The last used one first."""
        found = [entry for entry in map(self._entry, self._folders()) if entry is not None]
        return sorted(found, key=lambda entry: entry.used, reverse=True)

    def make_room(self) -> int:
        """Remove entries beyond the limit, and what dead processes left; the bytes that went."""
        self._sweep()
        entries = self.entries()
        excess, gone = sum(entry.bytes for entry in entries) - self.limit, 0
        for entry in reversed(entries):
            if gone >= excess:
                break
            if entry.key not in self._in_use and self.remove(entry.key):
                gone += entry.bytes
        return gone

    def clear(self) -> int:
        """Remove all entries; their number."""
        return sum(self.remove(entry.key) for entry in self.entries())

    def remove(self, key: str) -> bool:
        """Renamed first: nobody meets half an entry. False where a reader holds it (Windows)."""
        gone = self.folder / f"{UNFINISHED}{key}.{uuid.uuid4().hex[:8]}"
        try:
            os.replace(self.folder / key, gone)
        except OSError:
            return False
        shutil.rmtree(gone, ignore_errors=True)
        return True

    def _folders(self) -> Iterator[Path]:
        with suppress(OSError):
            yield from (path for path in self.folder.iterdir() if not path.name.startswith(UNFINISHED))

    def _entry(self, folder: Path) -> Entry | None:
        told = self.told(folder.name)
        try:
            used = (folder / TOLD).stat().st_mtime
            size = sum(path.stat().st_size for path in folder.iterdir())
        except OSError:  # another process has just removed it
            return None
        return None if told is None else Entry(key=folder.name, path=folder, bytes=size, used=used, told=told)

    def _sweep(self) -> None:
        with suppress(OSError):
            for path in self.folder.glob(f"{UNFINISHED}*"):
                if time.time() - path.stat().st_mtime > ABANDONED:
                    shutil.rmtree(path, ignore_errors=True)


def usual_store() -> Store:
    """Where $OPENLTX_CACHE says, else the user's own cache folder; $OPENLTX_CACHE_GB bounds it (20)."""
    named = os.environ.get(FOLDER_VARIABLE)
    text = os.environ.get(LIMIT_VARIABLE) or f"{USUAL_LIMIT:g}"
    try:
        limit = float(text)
    except ValueError:
        limit = -1.0
    if not 0 <= limit < float("inf"):
        raise ValueError(f"{LIMIT_VARIABLE}: expected a number of gigabytes, found {text!r}; correct it")
    return Store((Path(named) if named else _user_folder()) / "shots", int(limit * 1e9))


@contextmanager
def empty_cache(folder: Path) -> Iterator[None]:
    """Everything is rendered anew meanwhile, and kept in `folder`."""
    before = os.environ.get(FOLDER_VARIABLE)
    os.environ[FOLDER_VARIABLE] = str(folder)
    try:
        yield
    finally:
        os.environ.pop(FOLDER_VARIABLE)
        if before is not None:
            os.environ[FOLDER_VARIABLE] = before


def _user_folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "openltx"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "openltx"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "openltx"
