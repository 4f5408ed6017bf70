"""The transformer over a stream of its blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import nn

from ...networks.transformer import Transformer
from ...networks.transformer.block import Block
from ..lora.network import LoraUse, apply_loras
from ..operations import StoredLinear, tell_ways
from ..placement import Placement
from .blocks import HostBlock
from .stream import BlockStream

BLOCKS = "transformer_blocks."


class StreamedTransformer(Transformer):
    """Some blocks stay on the device, the others come for the time that they compute; results are the same bits."""

    shares_blocks = True
    _stream: BlockStream | None = None
    _place: dict[int, int]

    def _present(self, block: Block) -> AbstractContextManager[object]:
        if self._stream is None or block.index not in self._place:
            return nullcontext()
        return self._stream.present(self._place[block.index])

    @property
    def stream(self) -> BlockStream:
        """What brings the blocks."""
        assert self._stream is not None
        return self._stream

    @property
    def device_bytes(self) -> int:
        """Of the slots that blocks come to."""
        return 0 if self._stream is None else self._stream.device_bytes

    def to(self, *arguments: Any, **options: Any) -> StreamedTransformer:
        """Stays where it was placed: moving it would load every block."""
        return self

    def close(self) -> None:
        """Give back the slots; the network cannot be called after that."""
        if self._stream is not None:
            self._stream.close()


def streamed_transformer(
    clean: Callable[[], Transformer],
    uses: Sequence[LoraUse],
    device: torch.device,
    dtype: torch.dtype,
    placement: Placement,
) -> StreamedTransformer:
    """A transformer with `placement.resident_blocks` blocks on `device`, the others streamed from their mapped file.

    clean: reads it without LoRAs, memory-mapped. Updates of streamed plain weights are made on the way, in the same
    arithmetic as merged ones; stored weights travel as they are stored.
    """
    network = clean()
    assert type(network) is Transformer
    network.__class__ = StreamedTransformer
    streamed = cast(StreamedTransformer, network)
    blocks = cast("list[Block]", list(streamed.transformer_blocks))
    coming = set(spread(len(blocks), len(blocks) - (placement.resident_blocks or 0)))

    def later(layer: str) -> bool:
        return layer.startswith(BLOCKS) and int(layer.split(".")[1]) in coming

    left = apply_loras(streamed, uses, later=later)
    for name, module in streamed.named_children():
        if name != BLOCKS.rstrip("."):
            module.to(device, dtype)
    for name, parameter in list(streamed.named_parameters(recurse=False)):
        setattr(streamed, name, nn.Parameter(parameter.detach().to(device, dtype), requires_grad=False))
    for block in blocks:
        if block.index in coming:
            _move_pairs(block, device)
        else:
            block.to(device, dtype)
    hosted = [HostBlock(blocks[i], f"{BLOCKS}{i}.", dtype, left) for i in sorted(coming)]
    streamed._place = {index: place for place, index in enumerate(sorted(coming))}
    if hosted:
        streamed._stream = BlockStream(hosted, device, slots=placement.slots, pinned=placement.pinned)
    tell_ways(streamed, device, dtype)
    return streamed


def spread(blocks: int, streamed: int) -> list[int]:
    """Which of `blocks` are streamed: evenly between the others, so that copies have their time."""
    return [index * blocks // streamed for index in range(streamed)]


def _move_pairs(block: Block, device: torch.device) -> None:
    """The thin products of a LoRA on stored weights stay on the device: they are small."""
    for module in block.modules():
        if isinstance(module, StoredLinear):
            module.move_pair(device)
