"""What a product with quantised activations computes, in plain torch (quantization.md sections 3 to 6).

The exact reference for the products of the hardware, and for files that were calibrated for them. Layers use it
nowhere: where there is no such hardware, activations stay as they are (`weight only`).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from . import mxfp8, nvfp4
from .blocks import scale_blocks
from .int8 import rotate_groups
from .layer import INPUT_SCALE, WEIGHT, QuantisedLayer
from .quantise import (
    SMALLEST_SCALE,
    block_exponents,
    block_scales,
    global_scale,
    quantise_int8,
    round_e2m1,
    to_e4m3,
)


def quantised_input(x: Tensor, tensors: Mapping[str, Tensor], layer: QuantisedLayer) -> Tensor:
    """x (M, K) rounded as the format of `layer` rounds its input, in float32.

    tensors: those of the layer; without `input_scale`: 1 for fp8, from x for nvfp4.
    """
    x, scale = x.float(), tensors.get(INPUT_SCALE)
    if layer.format == "int8_tensorwise":
        return _int8_input(x, layer)
    if layer.format == "nvfp4":
        return _nvfp4_input(x, scale)
    if layer.format == "mxfp8":
        return _mxfp8_input(x)
    scale = torch.ones((), device=x.device) if scale is None else scale.reshape(())
    dtype = tensors[WEIGHT].dtype  # E5M2 weights take E5M2 inputs
    largest = torch.finfo(dtype).max
    return (x * (1 / scale)).clamp(-largest, largest).to(dtype).float() * scale


def _int8_input(x: Tensor, layer: QuantisedLayer) -> Tensor:
    stored = quantise_int8(x, rotation=layer.rotation)
    values = stored["weight"].float() * stored["weight_scale"]
    return values if layer.rotation is None else rotate_groups(values, layer.rotation, name=layer.name)


def _nvfp4_input(x: Tensor, scale: Tensor | None) -> Tensor:
    wide = F.pad(x, (0, -x.shape[1] % nvfp4.BLOCK))
    whole = global_scale(wide).clamp(min=SMALLEST_SCALE) if scale is None else scale.reshape(())
    return round_e2m1(wide, block_scales(wide, whole).float() * whole)[:, : x.shape[1]]


def _mxfp8_input(x: Tensor) -> Tensor:
    wide = F.pad(x, (0, -x.shape[1] % mxfp8.BLOCK))
    powers = torch.exp2(block_exponents(wide).float() - mxfp8.EXPONENT_BIAS)
    return scale_blocks(to_e4m3(scale_blocks(wide, 1 / powers)).float(), powers)[:, : x.shape[1]]
