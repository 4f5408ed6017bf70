"""8-bit floats with one scale for the whole weight (quantization.md section 3)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .layer import SCALE, WEIGHT, QuantisedLayer


def dequantise_fp8(tensors: Mapping[str, Tensor], layer: QuantisedLayer, dtype: torch.dtype) -> Tensor:
    """weight · scale. weight (N, K) float8 of either kind; scale float32, () or (1,)."""
    scale = tensors[SCALE]
    if scale.numel() != 1:
        raise ValueError(f"{layer.name}: expected one scale for {layer.format}, found shape {tuple(scale.shape)}")
    return tensors[WEIGHT].to(dtype) * scale.reshape(()).to(dtype)
