"""Which networks lie on an accelerator, so that one gives way to the next: phases of a run never overlap.

Only what we hold ourselves; a host that pages weights knows of its own. What gives way is dropped, and read again when
it is needed: from the file, which the system still caches while the host has memory to spare.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch

from .free_memory import free_vram


class Resident(Protocol):
    """Weights that may be dropped: whoever still works with them keeps them, and they are read again for the next."""

    def bytes_on(self, device: torch.device) -> int: ...

    def drop(self) -> None: ...


_used: dict[int, weakref.ref[Resident]] = {}  # the one that was used last at the end
_busy: list[Resident] = []


def note_use(resident: Resident) -> None:
    """It lies on an accelerator from now on."""
    _used.pop(id(resident), None)
    _used[id(resident)] = weakref.ref(resident)


def evictable(device: torch.device, keep: Resident | None = None) -> int:
    """Bytes of `device` that everything but `keep` would give back."""
    return sum(resident.bytes_on(device) for resident in _others(keep))


def make_room(device: torch.device, needed: int | None = None, keep: Resident | None = None) -> None:
    """Drop others, those first that were used least lately, until `needed` bytes are free; None: drop all others."""
    for resident in list(_others(keep)):
        if needed is not None and free_vram(device) >= needed:
            return
        if resident.bytes_on(device):
            resident.drop()
            free_unused()


def free_unused() -> None:
    """Give back what nobody refers to."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def in_use(resident: Resident) -> Iterator[None]:
    """Inside the block it does not give way."""
    _busy.append(resident)
    try:
        yield
    finally:
        _busy.remove(resident)


def _others(keep: Resident | None) -> Iterator[Resident]:
    for reference in list(_used.values()):
        resident = reference()
        if resident is not None and resident is not keep and all(resident is not busy for busy in _busy):
            yield resident
