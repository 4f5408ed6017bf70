"""A weights file that has been opened, whatever its format: names, shapes, metadata, and tensors mapped on demand."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from mmap import mmap
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any
from weakref import ref

from ..given_text import parse_json
from .safetensors_header import TORCH_NAMES, TensorEntry

if TYPE_CHECKING:
    from torch import Tensor


class CheckpointError(ValueError):
    """A file that cannot be used as weights; the message is one line: expected, found, what to do."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One opened file. `entries` leaves out the `@…` tensors of golden cases: they are not weights.

    data_start: byte of the file from which the offsets of `entries` count.
    """

    path: Path
    metadata: dict[str, str]
    entries: dict[str, TensorEntry]
    data_start: int = 0

    @cached_property
    def config(self) -> dict[str, Any]:
        """The JSON object under `config` in the metadata; empty when there is none."""
        text = self.metadata.get("config")
        if text is None:
            return {}
        try:
            config = parse_json(text)
        except json.JSONDecodeError as error:
            raise CheckpointError(
                f"{self.path}: expected JSON in the metadata entry 'config', found {error}; the file is damaged"
            ) from error
        if not isinstance(config, dict):
            raise CheckpointError(f"{self.path}: expected a JSON object in the metadata entry 'config'")
        return config

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: entry.shape for name, entry in self.entries.items()}

    def names(self, prefix: str = "") -> list[str]:
        """Tensor names that start with `prefix`, in file order."""
        return [name for name in self.entries if name.startswith(prefix)]

    def read_ahead(self, names: Iterable[str]) -> Thread | None:
        """Begin to read the bytes of the named tensors into the system's cache (read_ahead.py), where it pays."""
        from .read_ahead import read_ahead

        entries, first = (self.entries[name] for name in names), self.data_start
        spans = [(first + entry.start, first + entry.end) for entry in entries]
        return read_ahead(self.path, spans, ref(self._mapping))

    def load(self, names: list[str]) -> dict[str, Tensor]:
        """The named tensors, memory-mapped, in the dtype of the file, on the CPU.

        Raises CheckpointError for a dtype that torch does not have, and when the file has changed since it was opened.
        """
        return {name: self._tensor(name) for name in names}

    def _tensor(self, name: str) -> Tensor:
        import torch

        from .mapped import typed

        entry = self.entries[name]
        dtype = getattr(torch, TORCH_NAMES.get(entry.dtype, ""), None)
        if dtype is None:
            raise CheckpointError(
                f"{self.path}: tensor {name}: no torch type for {entry.dtype}; use a file in another format"
            )
        start, end = self.data_start + entry.start, self.data_start + entry.end
        return typed(self._mapped[start:end], dtype, entry.shape)

    @cached_property
    def _mapped(self) -> Tensor:
        from .mapped import as_bytes

        return as_bytes(self._mapping)

    @cached_property
    def _mapping(self) -> mmap:
        from .mapped import map_file

        needed = self.data_start + max((entry.end for entry in self.entries.values()), default=0)
        try:
            mapping = map_file(self.path)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self.path}: cannot be read ({error}); download it again") from error
        if len(mapping) < needed:
            raise CheckpointError(
                f"{self.path}: expected {needed} bytes as when it was opened, found {len(mapping)}; load it again"
            )
        return mapping
