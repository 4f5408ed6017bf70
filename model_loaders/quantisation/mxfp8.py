"""8-bit floats with a power of two for every 32 values (quantization.md section 6)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .blocks import scale_blocks, untile
from .layer import SCALE, WEIGHT, QuantisedLayer

BLOCK = 32
EXPONENT_BIAS = 127


def dequantise_mxfp8(tensors: Mapping[str, Tensor], layer: QuantisedLayer, dtype: torch.dtype) -> Tensor:
    """value · 2^(exponent - 127), (N', K') padded to multiples of 32.

    weight float8_e4m3fn (N', K'); weight_scale: bytes of the exponents, tiled (as uint8 or float8_e8m0fnu).
    """
    weight = tensors[WEIGHT]
    exponents = untile(tensors[SCALE].view(torch.uint8), weight.shape[0], weight.shape[1] // BLOCK, name=layer.name)
    powers = torch.exp2(exponents.float() - EXPONENT_BIAS)
    return scale_blocks(weight.to(dtype), powers.to(dtype))
