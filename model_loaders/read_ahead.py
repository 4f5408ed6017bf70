"""Bytes of a file that will be used soon come into the system's cache: read by a few threads, in the order of the file.

Nothing of them is kept here, so the memory stays the system's to take back. At most half of the free memory is read
ahead: of a file that is larger, what comes later is read when it is used. On Linux the pages are also entered into the
mapping, which otherwise the first use would do page by page.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from functools import cache
from mmap import PAGESIZE, mmap
from pathlib import Path
from typing import Any
from weakref import ref

from .free_memory import free_ram

PIECE = 8 * 2**20  # of a file, for one thread at a time: spinning disks like few places at once
CHUNK = 2 * 2**20  # read at once
THREADS = 4
SMALLEST = 16 * 2**20  # less is read as fast when it is used
SHARE = 0.5  # of the free memory
POPULATE_READ = 22  # of madvise, Linux 5.14 and newer; earlier ones refuse it, which does no harm

Span = tuple[int, int]  # first byte, byte after the last
_turn = threading.Lock()
_entering = threading.Lock()  # one at a time: this is work for a processor, not for the disk


def read_ahead(path: Path, spans: Iterable[Span], wanted: ref[mmap]) -> threading.Thread | None:
    """Begin, and return the thread that does it; None where it is not worth it. Files are read one after the other.

    wanted: the mapping of the file; when nobody holds it any more, reading stops.
    """
    joined = join_spans(spans)
    if sum(end - start for start, end in joined) < SMALLEST:
        return None
    thread = threading.Thread(target=_in_turn, args=(path, joined, wanted), name="openltx-read-ahead", daemon=True)
    thread.start()
    return thread


def join_spans(spans: Iterable[Span]) -> list[Span]:
    """In order, without the gaps that are smaller than a piece."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1] + PIECE:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined


def cut(spans: Iterable[Span], limit: int) -> Iterator[Span]:
    """Pieces of PIECE bytes and less, `limit` bytes in all."""
    for first, last in spans:
        for start in range(first, last, PIECE):
            end = min(start + PIECE, last, start + limit)
            if end <= start:
                return
            yield start, end
            limit -= end - start


def _in_turn(path: Path, spans: list[Span], wanted: ref[mmap]) -> None:
    with _turn:
        pieces, lock = cut(spans, int(SHARE * free_ram())), threading.Lock()
        work = (path, pieces, lock, wanted)
        readers = [threading.Thread(target=_read, args=work, daemon=True) for _ in range(THREADS)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()


def _read(path: Path, pieces: Iterator[Span], lock: threading.Lock, wanted: ref[mmap]) -> None:
    buffer = memoryview(bytearray(CHUNK))
    try:
        with path.open("rb", buffering=0) as file:
            while (mapping := wanted()) is not None:
                with lock:
                    piece = next(pieces, None)
                if piece is None:
                    return
                start, end = piece
                if not _in_cache(file.fileno(), end - 1):
                    file.seek(start)
                    for here in range(start, end, CHUNK):
                        file.readinto(buffer[: end - here])
                _enter(mapping, start, end)
    except OSError:  # whoever uses the bytes meets the error
        return


def _enter(mapping: mmap, start: int, end: int) -> None:
    """Bytes that are in the cache into the tables of this process; where that does not work, it is done at use."""
    madvise = _madvise()
    if madvise is not None:
        first = start - start % PAGESIZE
        base = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
        with _entering:
            madvise(ctypes.c_void_p(base + first), ctypes.c_size_t(end - first), POPULATE_READ)


@cache
def _madvise() -> Any:
    """The C function, which lets other threads run: that of `mmap` does not."""
    return ctypes.CDLL(None).madvise if sys.platform == "linux" else None


def _in_cache(file: int, position: int) -> bool:
    """Whether a byte can be had without waiting for the disk; False where the system does not tell."""
    if sys.platform != "linux":
        return False
    try:
        return os.preadv(file, [bytearray(1)], position, os.RWF_NOWAIT) == 1
    except OSError:
        return False
