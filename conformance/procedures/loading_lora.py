"""LoRA: merged in float32 and in the reference's bfloat16, fused into quantised weights, applied at run time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import torch.nn.functional as F
from torch import Tensor

from ...model_loaders.lora.adapters import (
    LowRank,
    adapted_bias,
    adapted_weight,
    changes_bias,
    changes_weight,
    low_rank,
)
from ...model_loaders.lora.fuse import fused, merged_in_bf16
from ...model_loaders.lora.keys import match
from ...model_loaders.quantisation.layer import SCALE, SCALE_2, WEIGHT, QuantisedLayer
from ..case import Case
from ..registry import procedure

BASE = "base/"
FORMATS = {
    "fp8_cast": None,
    "fp8_scaled": QuantisedLayer(name="fp8_scaled", format="float8_e4m3fn", tensors={}),
    "nvfp4": QuantisedLayer(name="nvfp4", format="nvfp4", tensors={}),
    "int8_convrot64": QuantisedLayer(name="int8", format="int8_tensorwise", tensors={}, rotation=64),
}
Adapter = dict[str, Tensor]


@procedure("loading", "lora")
def lora(case: Case) -> dict[str, Tensor]:
    """All LoRAs of the case into its base weights."""
    base = _below(case.inputs, BASE)
    if "kind_of_layer" in case.call:  # each strength for itself, not a stack
        (adapters,) = _adapters(case, base)
        return {
            f"merged_f32_s{strength:g}/{name}": tensor
            for strength in case.call["strengths"]
            for name, tensor in _merged(base, [adapters], [strength]).items()
        }
    adapters_of = _adapters(case, base)
    strengths = case.call.get("strengths") or [case.call["strength"]]
    outputs = {f"merged_f32/{name}": tensor for name, tensor in _merged(base, adapters_of, strengths).items()}
    for layer, pairs in _pairs(adapters_of, strengths).items():
        outputs[f"merged_bf16/{layer}.weight"] = merged_in_bf16(base[f"{layer}.weight"], pairs)
    return outputs


@procedure("loading", "lora_into_quantised")
def lora_into_quantised(case: Case) -> dict[str, Tensor]:
    outputs: dict[str, Tensor] = {}
    for kind, quantised in FORMATS.items():
        base = _below(case.inputs, f"{kind}/")
        (adapters,) = _adapters(case, base)
        for layer, parts in adapters.items():
            tensors = {part: base[f"{layer}.{part}"] for part in (WEIGHT, SCALE, SCALE_2) if f"{layer}.{part}" in base}
            pair = low_rank(parts, case.call["strength"])
            assert pair is not None
            stored = quantised if SCALE in tensors else None
            outputs |= {f"{kind}/{layer}.{part}": new for part, new in fused(tensors, stored, [pair]).items()}
    return outputs


@procedure("loading", "lora_runtime")
def lora_runtime(case: Case) -> dict[str, Tensor]:
    base = _below(case.inputs, BASE)
    ((layer, parts),) = _adapters(case, base)[0].items()
    pair = low_rank(parts, case.call["strength"])
    assert pair is not None
    x = case.inputs["x"]
    return {"y": F.linear(x, base[f"{layer}.weight"]) + pair(x)}


def _adapters(case: Case, base: Mapping[str, Tensor]) -> list[dict[str, Adapter]]:
    """{layer: parts} of every LoRA of the case: the file itself, or several among the inputs."""
    numbered = sorted({name.split("/")[0] for name in case.inputs if name.startswith("lora")})
    files = [_below(case.inputs, f"{number}/") for number in numbered]
    if not files:
        loaded = case.checkpoint.load(case.checkpoint.names())
        files = [{name: tensor.to(case.device) for name, tensor in loaded.items()}]
    return [_by_layer(file, base) for file in files]


def _by_layer(file: Mapping[str, Tensor], base: Iterable[str]) -> dict[str, Adapter]:
    layers = match(file, base).layers
    return {layer: {part: file[name] for part, name in parts.items()} for layer, parts in layers.items()}


def _merged(
    base: Mapping[str, Tensor], adapters_of: list[dict[str, Adapter]], strengths: list[float]
) -> dict[str, Tensor]:
    merged: dict[str, Tensor] = {}
    for adapters, strength in zip(adapters_of, strengths, strict=True):
        for layer, parts in adapters.items():
            weight, bias = f"{layer}.weight", f"{layer}.bias"
            if changes_weight(parts):
                merged[weight] = adapted_weight(merged.get(weight, base[weight]), parts, strength, layer=layer)
            if changes_bias(parts):
                merged[bias] = adapted_bias(merged.get(bias, base[bias]), parts, strength, layer=layer)
    return merged


def _pairs(adapters_of: list[dict[str, Adapter]], strengths: list[float]) -> dict[str, list[LowRank]]:
    pairs: defaultdict[str, list[LowRank]] = defaultdict(list)
    for adapters, strength in zip(adapters_of, strengths, strict=True):
        for layer, parts in adapters.items():
            pair = low_rank(parts, strength)
            if pair is not None:
                pairs[layer].append(pair)
    return pairs


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
