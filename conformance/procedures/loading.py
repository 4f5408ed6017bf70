"""Quantised formats, GGUF, dividing a file into components, packed text encoders, detection."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...model_loaders.checkpoint import open_checkpoint
from ...model_loaders.detection import detect
from ...model_loaders.division import divide
from ...model_loaders.packed_assets import packed_assets
from ...model_loaders.quantisation.activations import quantised_input
from ...model_loaders.quantisation.discovery import quantised_layers
from ...model_loaders.quantisation.formats import dequantise
from ...model_loaders.quantisation.layer import INPUT_SCALE, QuantisedLayer, real_input_scale
from ...model_loaders.quantisation.policies import fold, fp8_cast
from ...model_loaders.quantisation.quantise import (
    Quantise,
    quantise_fp8_cast,
    quantise_fp8_scaled,
    quantise_int8,
    quantise_mxfp8,
    quantise_nvfp4,
)
from ...model_loaders.safetensors_header import TensorEntry
from ..case import Case
from ..registry import procedure

QUANTISERS: dict[str, Quantise] = {
    "fp8_cast": quantise_fp8_cast,
    "fp8_scaled": quantise_fp8_scaled,
    "nvfp4": quantise_nvfp4,
    "mxfp8": quantise_mxfp8,
    "int8_row": quantise_int8,
    "int8_tensor": partial(quantise_int8, by_row=False),
    "int8_convrot64": partial(quantise_int8, rotation=64),
}


@procedure("loading", "fp8_scaled")
@procedure("loading", "comfy_quant")
@procedure("loading", "fp8_legacy")
@procedure("loading", "nvfp4_official")
def quantised_file(case: Case) -> dict[str, Tensor]:
    """Dequantised weights, and products with and without quantised activations, as far as the case asks for them."""
    layers = {name: _Layer(case, layer) for name, layer in _all_linears(case).items()}
    _check_discovery(case, layers)
    outputs: dict[str, Tensor] = {}
    for wanted in case.output_names:
        what, _, name = wanted.partition("/")
        layer = layers[_file_key(case, name.removesuffix(".weight"), layers)]
        if what == "dequant":
            outputs[wanted] = layer.weight()
        elif what == "dequant_bf16":
            outputs[wanted] = layer.weight(torch.bfloat16)
        else:
            x = _input_of(case, name, layer.weight().shape[1])
            outputs[wanted] = layer.quantised(x) if what != "linear_dequant" else layer.plain(x)
    return outputs


@procedure("loading", "quantise")
def quantise(case: Case) -> dict[str, Tensor]:
    weight = case.inputs["weight"]
    return {
        f"{name}/{part}": tensor for name, quantiser in QUANTISERS.items() for part, tensor in quantiser(weight).items()
    }


@procedure("loading", "fp8_cast")
def cast_policy(case: Case) -> dict[str, Tensor]:
    return {f"cast/{name}": tensor for name, tensor in fp8_cast(_without_prefix(case)).items()}


@procedure("loading", "fp8_prequant_fold")
def prequantised(case: Case) -> dict[str, Tensor]:
    folded = fold(_without_prefix(case))
    return {f"bf16/{name}": tensor for name, tensor in folded.items()} | {
        f"fp8_cast/{name}": tensor for name, tensor in fp8_cast(folded).items()
    }


@procedure("loading", "gguf")
def gguf(case: Case) -> dict[str, Tensor]:
    file = open_checkpoint(case.sibling(case.call["gguf"]))
    prefix = case.call.get("prefix") or ""
    loaded = file.load(file.names(prefix))
    for name, row in case.call["tensors"].items():
        entry = file.entries[prefix + name]
        _expect(f"type of {name}", row["type"], entry.dtype)
        _expect(f"shape of {name}", tuple(row["shape"]), entry.shape)
    return {name.removeprefix(prefix): tensor.float().to(case.device) for name, tensor in loaded.items()}


@procedure("loading", "split")
def split(case: Case) -> dict[str, Tensor]:
    """One boolean a component: the case has no tensor to compare with, its call lists the keys."""
    found = divide(case.checkpoint.names())
    text = found.pop("connectors", {}) | found.pop("text_projection", {})
    found |= {"embeddings_processor": text} if text else {}
    expected: dict[str, dict[str, str]] = case.call["components"]
    return {name: torch.tensor(expected.get(name) == found.get(name)) for name in expected.keys() | found.keys()}


@procedure("loading", "te_packed")
def packed(case: Case) -> dict[str, Tensor]:
    """One boolean for the side files and one for the weights, as above."""
    found = divide(case.checkpoint.names())
    weights = {name: sorted(tensors.values()) for name, tensors in found.items()}
    expected = {name: sorted(keys) for name, keys in case.call["components"].items()}
    return {
        "assets": torch.tensor(packed_assets(case.checkpoint) == case.call["assets"]),
        "components": torch.tensor(weights == expected),
    }


@procedure("list.detect_headers")
def detect_headers(case: Case) -> dict[str, Tensor]:
    """One boolean a header: every expected field is as detected."""
    results: dict[str, Tensor] = {}
    for row in json.loads(Path(case.path).read_text("utf-8"))["cases"]:
        entries = {
            name: TensorEntry(dtype=dtype, shape=tuple(shape), start=0, end=0)
            for name, (dtype, shape) in row["tensors"].items()
        }
        found = detect(row["metadata"], entries).as_json()
        results[row["name"]] = torch.tensor(all(found.get(key) == value for key, value in row["expect"].items()))
    return results


class _Layer:
    """One linear layer of a case's file, quantised or not."""

    def __init__(self, case: Case, layer: QuantisedLayer | str) -> None:
        file, self.layer = case.checkpoint, layer
        name = layer if isinstance(layer, str) else layer.name
        names = {"weight": f"{name}.weight"} if isinstance(layer, str) else dict(layer.tensors)
        loaded = file.load(list(names.values()))
        self.tensors = {part: loaded[key].to(case.device) for part, key in names.items()}
        bias = f"{name}.bias"
        self.bias = file.load([bias])[bias].float().to(case.device) if bias in file.entries else None
        self.shape = self._logical_shape(case)

    def weight(self, dtype: torch.dtype = torch.float32) -> Tensor:
        if isinstance(self.layer, str):
            return self.tensors["weight"].to(dtype)
        return dequantise(self.tensors, self.layer, dtype=dtype)[tuple(slice(size) for size in self.shape)]

    def plain(self, x: Tensor) -> Tensor:
        return F.linear(x.float(), self.weight(), self.bias)

    def quantised(self, x: Tensor) -> Tensor:
        if isinstance(self.layer, str) or self.layer.full_precision:
            return self.plain(x)
        return self.plain(quantised_input(x, real_input_scale(self.tensors), self.layer))

    def _logical_shape(self, case: Case) -> tuple[int, ...]:
        """Without padding: from the case's own record of the layer, since these files hold no whole network."""
        if isinstance(self.layer, QuantisedLayer):
            original = case.intermediate.get(f"original/{self.layer.name}.weight")
            return () if original is None else tuple(original.shape)
        return ()


def _all_linears(case: Case) -> dict[str, QuantisedLayer | str]:
    names = [name.removesuffix(".weight") for name in case.checkpoint.entries if name.endswith(".weight")]
    return {**{name: name for name in names}, **quantised_layers(case.checkpoint)}


def _check_discovery(case: Case, layers: Mapping[str, _Layer]) -> None:
    """What the call says about the layers of the file."""
    found = {name: layer for name, layer in layers.items() if isinstance(layer.layer, QuantisedLayer)}
    expected: dict[str, Any] = case.call.get("expected_layers") or {
        name: {"format": "nvfp4"} for name in case.call.get("expected_nvfp4_layers", ())
    }
    if expected:
        _expect("layers", {_file_key(case, name, layers) for name in expected}, set(found))
    for name, row in expected.items():
        layer = found[_file_key(case, name, layers)]
        assert isinstance(layer.layer, QuantisedLayer)
        _expect(f"format of {name}", row["format"], layer.layer.format)
        if "full_precision" in row:
            _expect(f"full precision of {name}", row["full_precision"], layer.layer.full_precision)
        if "has_input_scale" in row:
            has = INPUT_SCALE in real_input_scale(layer.tensors)
            _expect(f"input scale of {name}", row["has_input_scale"], has)


def _file_key(case: Case, name: str, layers: Mapping[str, object]) -> str:
    return name if name in layers else f"{case.call.get('prefix', 'model.diffusion_model.')}{name}"


def _input_of(case: Case, name: str, width: int) -> Tensor:
    if f"x/{name}" in case.inputs:
        return case.inputs[f"x/{name}"]
    return next(x for key, x in case.inputs.items() if x.shape[-1] == width)


def _without_prefix(case: Case) -> dict[str, Tensor]:
    tensors = case.checkpoint.load(case.checkpoint.names())
    return {name.removeprefix("model.diffusion_model."): tensor for name, tensor in tensors.items()}


def _expect(what: str, expected: object, found: object) -> None:
    if expected != found:
        raise ValueError(f"{what}: expected {str(expected)[:200]}, found {str(found)[:200]}")
