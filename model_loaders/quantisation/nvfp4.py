"""4-bit floats, two a byte, with 8-bit scales of 16 values and a scale for all (quantization.md section 5)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from einops import rearrange
from torch import Tensor

from .blocks import scale_blocks, untile
from .layer import SCALE, SCALE_2, WEIGHT, QuantisedLayer

BLOCK = 16
MAGNITUDES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)  # E2M1; bit 3 of a code is the sign


def dequantise_nvfp4(tensors: Mapping[str, Tensor], layer: QuantisedLayer, dtype: torch.dtype) -> Tensor:
    """value · block scale · global scale, (N', K') padded to multiples of 16.

    weight uint8 (N', K'/2); weight_scale float8_e4m3fn or its bytes, tiled; weight_scale_2 float32, one element.
    """
    packed = tensors[WEIGHT]
    rows, columns = packed.shape[0], packed.shape[1] * 2 // BLOCK
    scales = untile(tensors[SCALE], rows, columns, name=layer.name).view(torch.float8_e4m3fn)
    scales = scales.to(dtype) * tensors[SCALE_2].reshape(()).to(dtype)
    return scale_blocks(unpack(packed, dtype), scales)


def unpack(packed: Tensor, dtype: torch.dtype) -> Tensor:
    """(N, K/2) bytes → (N, K) values; the even element lies in the high half."""
    table = torch.tensor([*MAGNITUDES, *(-value for value in MAGNITUDES)], dtype=dtype, device=packed.device)
    pairs = torch.stack((packed >> 4, packed & 15), dim=-1)
    return table[rearrange(pairs, "n k two -> n (k two)").int()]
