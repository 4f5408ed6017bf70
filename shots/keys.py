"""Keys of pieces: SHA-256 over all that shapes one, in a form that no two different things share."""

# of a tensor: shape, dtype and bytes; of a file: its bytes
from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

BLOCK = 1 << 20


def key_of(kind: str, **shaped_by: Any) -> str:
    """64 hexadecimal digits. Values: numbers, texts, None, tensors, paths (their contents), dataclasses and other
    objects (what they hold), and lists, tuples, sets and mappings of those."""
    return hashlib.sha256(json.dumps([kind, _plain(shaped_by)], sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Of a file's bytes, remembered until it changes."""
    status = path.stat()
    return _digest(path, status.st_size, status.st_mtime_ns)


def tensor_digest(values: Tensor) -> str:
    """Of every bit."""
    plain = values.detach().cpu().contiguous()
    digest = hashlib.sha256(f"{plain.dtype} {tuple(plain.shape)} ".encode())
    digest.update(plain.reshape(-1).view(dtype=torch.uint8).numpy().tobytes() if plain.numel() else b"")
    return digest.hexdigest()


@lru_cache(maxsize=1024)
def _digest(path: Path, size: int, modified: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, Tensor):
        return {"tensor": tensor_digest(value)}
    if isinstance(value, Path):
        return {"file": file_digest(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, (set, frozenset)):
        return sorted(json.dumps(_plain(entry)) for entry in value)
    if is_dataclass(value) and not isinstance(value, type):
        own = {field.name: getattr(value, field.name) for field in fields(value)}
    elif hasattr(value, "__dict__"):  # a rule of another pack: its name, and what it holds
        own = dict(vars(value))
    else:
        own = {"value": repr(value)}
    named = value if isinstance(value, (type, FunctionType)) else type(value)
    return {"kind": f"{named.__module__}.{named.__qualname__}", **{name: _plain(part) for name, part in own.items()}}
