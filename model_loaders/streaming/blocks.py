"""The tensors of one block: how they lie in a buffer, and what a LoRA changes of them on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..lora.adapters import changes_bias, changes_weight
from ..lora.network import Adapter, merged_bias, merged_weight
from ..operations import StoredLinear

ALIGNMENT = 64  # bytes: every view of a buffer begins at a multiple, as kernels like it


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One tensor of a block: whose it is, its stored form on the host, and its place (bytes) in a buffer.

    dtype: on the device. layer, adapters: what changes it on the way.
    """

    owner: nn.Module
    name: str
    stored: nn.Parameter
    dtype: torch.dtype
    start: int
    layer: str = ""
    adapters: Sequence[Adapter] = ()

    @property
    def size(self) -> int:
        """Bytes on the device."""
        return self.stored.numel() * self.dtype.itemsize

    def view(self, buffer: Tensor) -> Tensor:
        """Its place in a buffer of bytes, as a tensor."""
        return buffer[self.start : self.start + self.size].view(self.dtype).view(self.stored.shape)

    def arrive(self, source: Tensor, target: Tensor) -> None:
        """Copy the stored form, with its changes, to its place on the device."""
        if self.adapters:
            here = source.to(target.device, non_blocking=True)
            merged = merged_bias if self.name == "bias" else merged_weight
            source = merged(here, self.layer, self.adapters)
        target.copy_(source, non_blocking=True)


class HostBlock:
    """A block whose parameters lie on the host, and can be put in place from a buffer."""

    def __init__(self, block: nn.Module, prefix: str, dtype: torch.dtype, left: Mapping[str, list[Adapter]]) -> None:
        """prefix: of the block's layers in `left`, the updates that are made on the way."""
        self.block = block
        self.pieces: list[Piece] = []
        start = 0
        for path, owner in block.named_modules():
            kept = owner.stored_parts if isinstance(owner, StoredLinear) else ()
            for name, parameter in owner.named_parameters(recurse=False):
                layer, adapters = _updates(prefix, path, name, left)
                piece = Piece(
                    owner=owner,
                    name=name,
                    stored=parameter,
                    dtype=dtype if parameter.is_floating_point() and name not in kept else parameter.dtype,
                    start=start,
                    layer=layer,
                    adapters=adapters,
                )
                self.pieces.append(piece)
                start = -(-(start + piece.size) // ALIGNMENT) * ALIGNMENT
        self.size = start

    def put(self, buffer: Tensor) -> None:
        """The block computes with what lies in the buffer from now on."""
        for piece in self.pieces:
            piece.owner._parameters[piece.name] = nn.Parameter(piece.view(buffer), requires_grad=False)

    def remove(self) -> None:
        """The block has its parameters on the host again."""
        for piece in self.pieces:
            piece.owner._parameters[piece.name] = piece.stored


def _updates(prefix: str, path: str, name: str, left: Mapping[str, list[Adapter]]) -> tuple[str, list[Adapter]]:
    """The layer of a parameter and its updates; a parameter of no layer (a table) is updated by its own name."""
    layer = f"{prefix}{path}" if name in ("weight", "bias") else f"{prefix}{path}.{name}" if path else f"{prefix}{name}"
    wanted = changes_bias if name == "bias" else changes_weight
    return layer, [adapter for adapter in left.get(layer, ()) if wanted(adapter.parts)]
