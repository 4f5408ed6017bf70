"""Layers as packs for quantised files make them: parameters hold codes, which each call turns into numbers.

What they have in common with GGUF's: a tensor of bytes of another size that names the shape it stands for, unpacked
by a Linear of their own, handed to ComfyUI as `custom_operations`.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

ROW = 1 + 2  # bytes of a row beside its codes: a spare one, and its scale


class Packed(torch.Tensor):
    """uint8 (rows, columns + ROW): codes, a spare byte, the scale as float16; `shape` is that of the numbers."""

    stands_for: torch.Size

    @property
    def shape(self) -> torch.Size:  # type: ignore[override]
        return getattr(self, "stands_for", self.size())

    def detach(self) -> Packed:
        return self

    def to(self, *arguments: Any, **options: Any) -> Packed:
        """Stays as it is, on the CPU."""
        return self


def packed(weight: Tensor) -> Packed:
    """Rounded to 127 steps either way, row by row."""
    scale = (weight.float().abs().amax(dim=1, keepdim=True) / 127).clamp(min=1e-4).half()
    codes = (weight.float() / scale.float()).round().clamp(-127, 127) + 128
    spare = torch.zeros(len(weight), 1, dtype=torch.uint8)
    rows = torch.cat([codes.to(torch.uint8), spare, scale.view(torch.uint8)], dim=1)
    found = rows.as_subclass(Packed)
    found.stands_for = weight.shape
    return found


def unpacked(weight: Tensor) -> Tensor:
    rows = weight.as_subclass(torch.Tensor)
    scale = rows[:, -2:].contiguous().view(torch.float16).float()
    return (rows[:, :-ROW].float() - 128) * scale


def operations() -> Any:
    """A namespace for `custom_operations`."""
    import comfy.ops

    class Operations(comfy.ops.manual_cast):  # type: ignore[misc]
        class Linear(comfy.ops.manual_cast.Linear):  # type: ignore[misc]
            bias: Any

            def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *others: Any) -> None:
                weight = packed(state_dict.pop(f"{prefix}weight"))
                self.weight = nn.Parameter(weight, requires_grad=False)
                if self.bias is not None and f"{prefix}bias" in state_dict:
                    self.bias = nn.Parameter(state_dict.pop(f"{prefix}bias").float(), requires_grad=False)

            def forward(self, x: Tensor, *arguments: Any, **options: Any) -> Tensor:
                bias = None if self.bias is None else self.bias.to(x)
                return F.linear(x, unpacked(self.weight).to(x), bias)

    return Operations
