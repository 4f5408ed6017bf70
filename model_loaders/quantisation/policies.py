"""fp8 without scales: which parameters of a transformer it covers (quantization.md section 2)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

BLOCK = "transformer_blocks."
COVERED = (".to_q", ".to_k", ".to_v", ".to_out.0", "ff.net.0.proj", "ff.net.2")  # the last two: of both streams


def is_cast(name: str) -> bool:
    """Whether the policy casts a parameter, weight or bias, by its name without the file's prefix."""
    layer, _, kind = name.rpartition(".")
    return BLOCK in name and kind in ("weight", "bias") and layer.endswith(COVERED)


def fp8_cast(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Parameters by name; those that the policy covers become float8_e4m3fn, by way of bfloat16, without a scale."""
    return {
        name: tensor.to(torch.bfloat16).to(torch.float8_e4m3fn) if is_cast(name) else tensor
        for name, tensor in parameters.items()
    }


def fold(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Scaled fp8 → bfloat16: `<name>_scale` goes into `<name>`; scales are dropped, other tensors stay.

    Raises ValueError with the name for a scale that is no single number.
    """
    folded: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.endswith(("_scale", ".input_scale")):
            continue
        scale = tensors.get(f"{name}_scale")
        if scale is not None and scale.ndim:
            raise ValueError(f"{name}_scale: expected one number, found shape {tuple(scale.shape)}; use another file")
        folded[name] = tensor if scale is None else (tensor.float() * scale).to(torch.bfloat16)
    return folded
