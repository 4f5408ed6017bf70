"""One loop for everybody's damaged inputs: a watchdog on each, one limit of address space, no file outside a folder.

Whatever an input claims, taking it ends well or in one clean line, soon and in little memory. Linux only; in a process
of its own, because the limits stay.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LONGEST = 800  # characters of a line of a refusal
SECONDS = 10.0  # of the processor that an input may take: a busy machine fails nothing
PATIENCE = 600.0  # for what does not come back to Python, or waits
ROOM = 400 * 2**20  # bytes of addresses over what is mapped already
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod"}
HARMLESS = ("/dev/", "/proc/")


@dataclass(frozen=True, kw_only=True)
class Case:
    """name: tells it from all others. take: what a user's action does with it. refused: it must not be taken."""

    name: str
    take: Callable[[], object]
    refused: bool = False


def hunt(
    cases: Iterable[Case],
    folder: Path,
    *,
    refusal: type[ValueError] = ValueError,
    lines: int = 1,
    room: int = ROOM,
) -> dict[str, float]:
    """How many were refused and taken, the slowest, and what all of them added to memory.

    folder: outside of it nothing may be written. refusal, lines: what a refusal is, and how long it may be. A case that
    takes too long ends the process with its traceback; another fault is an AssertionError that names the case.
    """
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + room, mapped + room))
    signal.signal(signal.SIGVTALRM, _too_long)
    watch = _Writes(folder)
    sys.addaudithook(watch)
    found, slowest = {"refused": 0, "opened": 0}, 0.0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for case in cases:
        faulthandler.dump_traceback_later(PATIENCE, exit=True)
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
        start = time.process_time()
        text = _refusal(case, refusal, watch)
        slowest = max(slowest, time.process_time() - start)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        faulthandler.cancel_dump_traceback_later()
        assert len(text.strip().splitlines()) <= lines, f"{case.name}: too many lines: {text[:2000]}"
        assert all(len(line) < LONGEST for line in text.splitlines()), f"{case.name}: too long: {text[:2000]}"
        assert text or not case.refused, f"{case.name}: it was taken"
        found["refused" if text else "opened"] += 1
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    return {**found, "slowest_seconds": slowest, "peak_bytes": peak}


def _too_long(*_: object) -> None:
    raise TimeoutError(f"it took more than {SECONDS:g} s of the processor")


def _refusal(case: Case, refusal: type[ValueError], watch: _Writes) -> str:
    watch.on = True
    try:
        case.take()
    except refusal as error:
        return str(error) or type(error).__name__
    except BaseException as error:
        raise AssertionError(f"{case.name}: {error!r}") from error
    finally:
        watch.on = False
        assert not watch.outside, f"{case.name}: outside its folder: {watch.outside}"
    return ""


class _Writes:
    """An audit hook; it can only be switched off, not removed. What a library swallows is noted all the same."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.on = folder.resolve(), False
        self.outside: list[str] = []

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on or (event != "open" and event not in CHANGES):
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & WRITES):
            return
        paths = arguments[:2] if event in ("os.rename", "os.link") else arguments[:1]
        with suppress(TypeError, ValueError):  # a descriptor
            self.outside += [f"{event} {path!r}" for path in paths if not self._inside(os.fspath(path))]

    def _inside(self, path: str | bytes) -> bool:
        text = os.path.realpath(os.fsdecode(path))
        return text.startswith(HARMLESS) or Path(text).is_relative_to(self.folder)
