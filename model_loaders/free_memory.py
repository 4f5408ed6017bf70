"""How much memory the host and a device have free, now."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch


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
    """Hand to the system what the C library has kept of freed memory; where it offers no way, nothing.

    Pieces of changing sizes leave holes in glibc's heap: what is resident grows with a clip although what is used
    does not (decode to disk at ten times the frames: 1.26 times the memory). Takes well below a millisecond.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@lru_cache(maxsize=1)
def _trim() -> Callable[[int], int] | None:
    if sys.platform != "linux":
        return None
    found: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
    return found


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
