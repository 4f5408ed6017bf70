"""A file as one tensor of bytes, mapped into memory: nothing is read before it is used, nothing is held twice.

The mapping is private and writable, so that a tensor may be changed in place without changing the file, and it
reserves no memory: a file may be larger than RAM and swap together.
"""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import torch
from torch import Tensor

LINUX_MAP_NORESERVE = 0x4000  # Python names it from 3.13 on


def map_file(path: Path) -> mmap.mmap:
    """Raises OSError."""
    with path.open("rb") as stream:
        if sys.platform == "linux":
            flags, protection = mmap.MAP_PRIVATE | LINUX_MAP_NORESERVE, mmap.PROT_READ | mmap.PROT_WRITE
            return mmap.mmap(stream.fileno(), 0, flags=flags, prot=protection)
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)


def as_bytes(mapping: mmap.mmap) -> Tensor:
    """uint8, one element a byte; the mapping lives as long as a tensor that looks into it."""
    return torch.frombuffer(mapping, dtype=torch.uint8)


def typed(data: Tensor, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    """Bytes as a tensor: a view, or a copy where they lie askew in memory."""
    if data.storage_offset() % dtype.itemsize:
        data = data.clone()
    return data.view(dtype).view(shape)
