"""What a text encoder gives, and a small memory for it."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

REMEMBERED = 64  # contexts of one prompt take 12.6 MB at full size (1024 x 6144 bfloat16)
REMEMBERED_BYTES = 256 * 2**20
FOLDER_VARIABLE = "OPENLTX_TEXT_CACHE"


@dataclass(frozen=True, kw_only=True)
class TextConditioning:
    """Finished contexts of one prompt, S = 1024 (or the encoder's own length, rounded up to its registers)."""

    video_context: Tensor  # (1, S, Dv)
    audio_context: Tensor  # (1, S, Da)
    mask: Tensor | None = None  # (1, S); None: all positions are attended, which holds for every generation

    def copy_to(self, device: torch.device) -> TextConditioning:
        """The same in tensors of its own."""
        return TextConditioning(
            video_context=self.video_context.to(device, copy=True),
            audio_context=self.audio_context.to(device, copy=True),
            mask=None if self.mask is None else self.mask.to(device, copy=True),
        )


class ConditioningCache:
    """The last results, on the CPU. Encoders may share one: a key names the files and the tokens.

    size: entries; 0: nothing is remembered (for a host that changes weights behind a key, with LoRA patches for
    instance). limit: bytes of all of them. folder: where they are kept from one process to the next, if wanted.
    """

    def __init__(self, size: int = REMEMBERED, *, limit: int = REMEMBERED_BYTES, folder: Path | None = None) -> None:
        self.size, self.limit, self.folder = size, limit, folder
        self._entries: OrderedDict[Hashable, TextConditioning] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable, device: torch.device) -> TextConditioning | None:
        """A copy on `device`, or None."""
        found = self._entries.get(key)
        if found is None:
            found = self._from_disk(key)
            if found is not None:
                self._remember(key, found)
            return None if found is None else found.copy_to(device)
        self._entries.move_to_end(key)
        return found.copy_to(device)

    def put(self, key: Hashable, value: TextConditioning) -> None:
        """Remember a copy; the entries that were not used for longest make room."""
        if self.size < 1:
            return
        self._remember(key, value.copy_to(torch.device("cpu")))
        if self.folder is not None:
            self._to_disk(key, self._entries.get(key))

    def clear(self) -> None:
        """Forget what is in memory."""
        self._entries.clear()

    def _remember(self, key: Hashable, value: TextConditioning) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        while len(self._entries) > self.size or sum(map(_bytes, self._entries.values())) > self.limit:
            self._entries.popitem(last=False)

    def _path(self, key: Hashable) -> Path:
        assert self.folder is not None
        return self.folder / f"{hashlib.sha256(repr(key).encode()).hexdigest()[:40]}.safetensors"

    def _from_disk(self, key: Hashable) -> TextConditioning | None:
        if self.folder is None or self.size < 1 or not self._path(key).is_file():
            return None
        try:
            return TextConditioning(**load_file(self._path(key)))
        except (OSError, SafetensorError, TypeError):  # half written, or of another version: encode again
            return None

    def _to_disk(self, key: Hashable, value: TextConditioning | None) -> None:
        """Never an error: a disk that is full costs the time of an encoding later."""
        if value is None:
            return
        tensors = {name: tensor.contiguous() for name, tensor in vars(value).items() if tensor is not None}
        path = self._path(key)
        beside = path.with_suffix(f".{os.getpid()}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(tensors, beside)
            os.replace(beside, path)
        except (OSError, SafetensorError):
            beside.unlink(missing_ok=True)


def _bytes(value: TextConditioning) -> int:
    return sum(tensor.nbytes for tensor in vars(value).values() if tensor is not None)


def usual_cache() -> ConditioningCache:
    """On disk too where the environment names a folder for it."""
    folder = os.environ.get(FOLDER_VARIABLE)
    return ConditioningCache(folder=Path(folder) if folder else None)
