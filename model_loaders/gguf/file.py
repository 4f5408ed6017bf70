"""A GGUF file as a checkpoint: the same names, shapes and metadata as a safetensors file of the same model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..mapped import typed
from ..safetensors_header import TensorEntry
from ..weights_file import Checkpoint, CheckpointError
from .blocks import BY_NAME, dequantise_blocks
from .container import GGUFHeader, read_header
from .names import ARCHITECTURES, encoder_name, holds_one_too_much

if TYPE_CHECKING:
    from torch import Tensor

ARCHITECTURE = "general.architecture"
ORIGINAL_SHAPE = "comfy.gguf.orig_shape."
KEYFRAMES = "keyframes_abs_pos_embedding"


@dataclass(frozen=True, kw_only=True)
class GGUFCheckpoint(Checkpoint):
    """`entries`: block types as dtypes, logical shapes, bytes counted from the start of the file.

    metadata: the text fields, `config` among them where the converter has kept it.
    """

    @property
    def architecture(self) -> str:
        """`ltxv`, `gemma3` …: whatever the producer wrote. Files are recognised by their names."""
        return self.metadata.get(ARCHITECTURE, "")

    def load(self, names: list[str]) -> dict[str, Tensor]:
        """The named tensors on the CPU: plain types memory-mapped, quantised ones computed in float32."""
        return super().load(names)

    def stored(self, name: str) -> Tensor:
        """The blocks of a quantised tensor, memory-mapped: uint8 (blocks, bytes of a block)."""
        entry = self.entries[name]
        return self._mapped[entry.start : entry.end].view(-1, BY_NAME[entry.dtype].bytes)

    def _tensor(self, name: str) -> Tensor:
        entry, block = self.entries[name], BY_NAME[self.entries[name].dtype]
        if block.plain is None:
            tensor = dequantise_blocks(self.stored(name), entry.dtype).view(entry.shape)
        else:
            tensor = typed(self._mapped[entry.start : entry.end], block.plain, entry.shape)
        return tensor - 1 if holds_one_too_much(self.architecture, name) else tensor


def open_gguf(path: Path) -> GGUFCheckpoint:
    """Read the header of a GGUF file. Raises CheckpointError, one line, for damage of any kind."""
    header = read_header(path)
    entries = {
        name: TensorEntry(dtype=row.type, shape=_shape(path, name, row.shape, header), start=row.start, end=row.end)
        for name, row in header.tensors.items()
    }
    metadata = {key: value for key, value in header.fields.items() if isinstance(value, str)}
    checkpoint = GGUFCheckpoint(path=path, metadata=metadata, entries=entries)
    if checkpoint.architecture in ARCHITECTURES:
        return replace(checkpoint, entries={encoder_name(name): entry for name, entry in entries.items()})
    return checkpoint


def _shape(path: Path, name: str, stored: tuple[int, ...], header: GGUFHeader) -> tuple[int, ...]:
    """The shape that the tensor had before its conversion."""
    original: Any = header.fields.get(f"{ORIGINAL_SHAPE}{name}")
    if original is None:
        return (1, *stored) if name.endswith(KEYFRAMES) and len(stored) == 1 else stored
    sizes = original if isinstance(original, list) else []
    if not sizes or not all(type(size) is int and size > 0 for size in sizes) or prod(sizes) != prod(stored):
        raise CheckpointError(
            f"{path}: tensor {name[:80]!r}: expected an original shape of {prod(stored)} elements, "
            f"found {str(original)[:80]}; the file is damaged, download it again"
        )
    return tuple(sizes)
