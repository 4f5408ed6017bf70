"""Blocks on their way: a reader fetches the next one while the current one computes.

On a GPU copies run on a stream of their own: it waits until the slot's former block has finished, and the computing
stream waits for the copy. On the CPU the same steps run in order, with the CPU as the device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .blocks import HostBlock


@dataclass
class _Slot:
    """A buffer on the device, and the event after which its block is not needed any more."""

    buffer: Tensor
    finished: Any = None


class BlockStream:
    """Brings `blocks` in their order, again and again. counted: bytes that have been copied to the device so far."""

    def __init__(
        self, blocks: Sequence[HostBlock], device: torch.device, *, slots: int = 2, pinned: bool = False
    ) -> None:
        """pinned: keep a copy of each block in page-locked memory; False: read it from its file each time."""
        assert slots >= 1
        assert blocks
        self.blocks, self.device, self.pinned, self.counted = blocks, device, pinned, 0
        self._cuda = device.type == "cuda"
        size = max(block.size for block in blocks)
        with torch.inference_mode(False):
            self._slots = [
                _Slot(torch.empty(size, dtype=torch.uint8, device=device)) for _ in range(min(slots, len(blocks)))
            ]
        self._copies: Any = torch.cuda.Stream(device) if self._cuda else None  # type: ignore[no-untyped-call]
        self._staged: dict[int, Tensor] = {}
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="openltx-blocks")
        self._coming: dict[int, tuple[_Slot, Future[Any]]] = {}
        self._turn = 0  # of the slots

    @property
    def device_bytes(self) -> int:
        """Of the slots."""
        return sum(slot.buffer.numel() for slot in self._slots)

    @contextmanager
    def present(self, index: int) -> Iterator[None]:
        """Inside, block `index` of `blocks` is on the device. Blocks must be asked for in turn."""
        block = self.blocks[index]
        if index not in self._coming:  # the first of all, or after a run that was broken off
            self._forget()
            self._fetch(index)
        slot, coming = self._coming.pop(index)
        arrived = coming.result()
        if arrived is not None:
            torch.cuda.current_stream(self.device).wait_event(arrived)
        following = (index + 1) % len(self.blocks)
        if len(self._slots) > 1 and following != index and following not in self._coming:
            self._fetch(following)
        block.put(slot.buffer)
        try:
            yield
        finally:
            block.remove()
            if self._cuda:
                slot.finished = torch.cuda.Event()  # type: ignore[no-untyped-call]
                slot.finished.record()
        if len(self._slots) == 1 and following != index:
            self._fetch(following)

    def close(self) -> None:
        """End the reader and give the buffers back."""
        self._forget()
        self._reader.shutdown()
        self._slots, self._staged = [], {}

    def _forget(self) -> None:
        for _, coming in self._coming.values():
            if not coming.cancel():
                coming.exception()  # waits: it writes into a slot
        self._coming.clear()

    def _fetch(self, index: int) -> None:
        slot = self._slots[self._turn % len(self._slots)]
        self._turn += 1
        self._coming[index] = slot, self._reader.submit(self._copied, self.blocks[index], slot, index)

    @torch.no_grad()
    def _copied(self, block: HostBlock, slot: _Slot, index: int) -> Any:
        """In the reader: the block's tensors to the slot; the event after which they are there."""
        with nullcontext() if self._copies is None else torch.cuda.stream(self._copies):
            if slot.finished is not None:
                self._copies.wait_event(slot.finished)
            for piece, source in zip(block.pieces, self._sources(block, index), strict=True):
                piece.arrive(source, piece.view(slot.buffer))
                self.counted += piece.size
            if self._copies is None:
                return None
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record(self._copies)
            return event

    def _sources(self, block: HostBlock, index: int) -> list[Tensor]:
        """Stored tensors: mapped from the file, or in page-locked memory, from where a GPU copies by itself."""
        stored = [piece.stored.detach() for piece in block.pieces]
        if not self._cuda:
            return stored
        if self.pinned:
            if index not in self._staged:
                self._staged[index] = _pinned(stored)
            return _views(self._staged[index], stored)
        return _views(_pinned(stored), stored)  # torch keeps such memory until the copy is done, then uses it again


def _pinned(tensors: Sequence[Tensor]) -> Tensor:
    """Their bytes one behind the other in page-locked memory."""
    total = sum(-(-tensor.nbytes // 64) * 64 for tensor in tensors)
    buffer = torch.empty(total, dtype=torch.uint8, pin_memory=True)
    for view, tensor in zip(_views(buffer, tensors), tensors, strict=True):
        view.copy_(tensor)
    return buffer


def _views(buffer: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    views, start = [], 0
    for tensor in like:
        views.append(buffer[start : start + tensor.nbytes].view(tensor.dtype).view(tensor.shape))
        start += -(-tensor.nbytes // 64) * 64
    return views
