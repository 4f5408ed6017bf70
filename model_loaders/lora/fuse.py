"""Merging an update into stored weights (quantization.md sections 8.3 and 8.4).

For compatibility with files that others make so. Loaders never choose it for quantised weights: at 1 % of the
weight's size next to nothing of an update survives the rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..quantisation.formats import dequantise
from ..quantisation.layer import WEIGHT, QuantisedLayer
from ..quantisation.quantise import global_scale, quantise_fp8_scaled, quantise_int8, quantise_nvfp4
from .adapters import LowRank


def update_in_bf16(pairs: Sequence[LowRank]) -> Tensor:
    """The sum of the updates (N, K) in the reference's order of roundings, bfloat16. At least one pair."""
    delta: Tensor | None = None
    for pair in pairs:
        up, down = pair.up.to(torch.bfloat16), pair.down.to(torch.bfloat16)
        delta = (up * pair.scale) @ down if delta is None else torch.addmm(delta, up, down, alpha=pair.scale)
    assert delta is not None
    return delta


def merged_in_bf16(weight: Tensor, pairs: Sequence[LowRank]) -> Tensor:
    """An ordinary weight as the reference merges it, in bfloat16."""
    return update_in_bf16(pairs).reshape(weight.shape) + weight.to(torch.bfloat16)


def fused(tensors: Mapping[str, Tensor], layer: QuantisedLayer | None, pairs: Sequence[LowRank]) -> dict[str, Tensor]:
    """The tensors of a layer with its updates; parts that do not change are left out.

    layer: how it is stored; None: an ordinary weight in any float dtype, float8 without a scale among them.
    int8 takes the update in float32, as ComfyUI does, everything else in bfloat16, as the reference does.
    Raises ValueError for a format that has no such rule.
    """
    if layer is None:
        return {WEIGHT: merged_in_bf16(tensors[WEIGHT], pairs).to(tensors[WEIGHT].dtype)}
    if layer.format == "int8_tensorwise":
        exact = sum(pair.scale * (pair.up.float() @ pair.down.float()) for pair in pairs)
        return quantise_int8(dequantise(tensors, layer) + exact, rotation=layer.rotation)
    delta = update_in_bf16(pairs)
    size = tuple(slice(length) for length in delta.shape)
    if layer.format == "nvfp4":
        weight = dequantise(tensors, layer, dtype=torch.bfloat16)[size]
        weight = weight + delta
        return quantise_nvfp4(weight, scale=global_scale(weight).float())  # the reference rounds this one to bfloat16
    if layer.format == "float8_e4m3fn":
        return quantise_fp8_scaled(dequantise(tensors, layer)[size] + delta.float())
    raise ValueError(
        f"{layer.name}: expected a format that can be merged into, found {layer.format}; apply at run time"
    )
