"""What a text encoder gives, and a small memory for it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

REMEMBERED = 8  # contexts of one prompt take 12.6 MB at full size (1024 x 6144 bfloat16)


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
    """The last few results, on the CPU. Encoders may share one: a key names the files and the tokens.

    size 0: nothing is remembered (for a host that changes weights behind a key, with LoRA patches for instance).
    """

    def __init__(self, size: int = REMEMBERED) -> None:
        self.size = size
        self._entries: OrderedDict[Hashable, TextConditioning] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable, device: torch.device) -> TextConditioning | None:
        """A copy on `device`, or None."""
        found = self._entries.get(key)
        if found is None:
            return None
        self._entries.move_to_end(key)
        return found.copy_to(device)

    def put(self, key: Hashable, value: TextConditioning) -> None:
        """Remember a copy; the entry that was not used for longest makes room."""
        if self.size < 1:
            return
        self._entries[key] = value.copy_to(torch.device("cpu"))
        self._entries.move_to_end(key)
        while len(self._entries) > self.size:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        self._entries.clear()
