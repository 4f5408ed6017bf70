"""How much memory the host and a device have free, now."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # numbers of glibc's mallopt


def free_ram() -> int:
    """Bytes that programs may still take; memory that only caches files counts as free."""
    if sys.platform == "win32":
        return _windows()
    if sys.platform == "linux":
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        return min(int(lines["MemAvailable"].split()[0]) * 1024, _container())
    import os

    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 3 // 4  # macOS tells no more without tools


def free_vram(device: torch.device) -> int:
    """Bytes that a GPU has left, torch's own unused cache among them; of the CPU, `free_ram`."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free_ram()


def give_back() -> None:
    """Hand to the system what the C library has kept of freed memory; where it offers no way, nothing."""
    if _glibc() is not None:
        _glibc().malloc_trim(0)


@contextmanager
def without_holes() -> Iterator[None]:
    """Inside the block every tensor from 1 MiB on has pages of its own, which go back when it is freed (glibc).

    Pieces of changing sizes leave holes in glibc's heap: what is resident grows with a clip although what is used does
    not (489 frames of 128x128: 568 in place of 451 MiB). Fresh pages cost time: tiny networks take 1.6 times as long,
    real ones hardly more. Of the whole process; afterwards glibc's own upper bounds hold.
    """
    if _glibc() is None:
        yield
        return
    _glibc().mallopt(MMAP_THRESHOLD, 2**20)
    try:
        yield
    finally:
        _glibc().mallopt(MMAP_THRESHOLD, 2**25)  # where glibc's own moving threshold ends on 64 bits
        _glibc().mallopt(TRIM_THRESHOLD, 2**26)
        give_back()


@lru_cache(maxsize=1)
def _glibc() -> Any:
    """None where the C library is another one."""
    found = ctypes.CDLL(None) if sys.platform == "linux" else None
    return found if hasattr(found, "malloc_trim") else None


def _container() -> int:
    """What the limit of a control group leaves."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit, used = ((folder / f"memory.{name}").read_text().strip() for name in ("max", "current"))
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return sys.maxsize if limit == "max" else int(limit) - int(used) + int(stat.get("inactive_file", 0))
    except (OSError, ValueError):
        return sys.maxsize


def _windows() -> int:
    class Status(ctypes.Structure):
        _fields_ = [
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *(
                (name, ctypes.c_ulonglong)
                for name in ("total", "free", "pages", "free_pages", "virtual", "left", "more")
            ),
        ]

    status = Status(length=ctypes.sizeof(Status))
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))  # type: ignore[attr-defined,unused-ignore]
    return int(status.free)
