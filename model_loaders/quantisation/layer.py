"""One quantised layer of a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

WEIGHT, SCALE, SCALE_2, INPUT_SCALE = "weight", "weight_scale", "weight_scale_2", "input_scale"


@dataclass(frozen=True, kw_only=True)
class QuantisedLayer:
    """How one layer is stored; nothing but headers and the layer's description has been read.

    tensors: names in the file of `weight`, `weight_scale`, `weight_scale_2`, `input_scale`, as far as they exist
    (the older spellings `scale_weight` and `scale_input` under the newer keys).
    full_precision: the activations must not be quantised. rotation: group size in which the weight was rotated.
    """

    name: str  # the layer's key in the file, without ".weight"
    format: str  # a key of `formats.FORMATS`
    tensors: Mapping[str, str]
    full_precision: bool = False
    rotation: int | None = None


# (tensors of the layer by the keys of QuantisedLayer.tensors, the layer, dtype of the arithmetic) → weight [N', K'],
# still with the padding of its format. In float32 it is exact; ComfyUI computes in bfloat16.
Dequantise = Callable[[Mapping[str, Tensor], QuantisedLayer, torch.dtype], Tensor]


def real_input_scale(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a layer without an input scale of exactly 1, a placeholder (quantization.md section 3)."""
    scale = tensors.get(INPUT_SCALE)
    if scale is not None and scale.numel() == 1 and float(scale) == 1.0:
        return {part: tensor for part, tensor in tensors.items() if part != INPUT_SCALE}
    return dict(tensors)
