"""A network of `stored_operations` + quantised tensors of a file → a network that keeps them as they are."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from .assemble import assign
from .checkpoint import CheckpointError
from .gguf.blocks import dequantise_blocks
from .gguf.file import GGUFCheckpoint
from .operations import Recipe, StoredLinear
from .quantisation.formats import dequantise
from .quantisation.layer import INPUT_SCALE, SCALE, SCALE_2, WEIGHT, QuantisedLayer, real_input_scale
from .quantisation.weights import PLAIN, Weights

Network = TypeVar("Network", bound=nn.Module)
SUFFIX = f".{WEIGHT}"

log = logging.getLogger(__name__)


def assign_stored(network: Network, weights: Weights, shapes: Mapping[str, tuple[int, ...]], *, below: str) -> Network:
    """Give a network on the meta device its tensors; names and shapes have been checked against it.

    Linear layers whose names start with `below` keep quantised weights in stored form; every other quantised weight
    becomes a plain one in the dtype of the plain ones beside it, or bfloat16. Logs once what was done.
    Raises CheckpointError for a scale that is no finite number.
    """
    kept = dict.fromkeys(name for name in weights.tensors if _keeps(network, name, weights, below))
    for name in kept:
        network.get_submodule(name.removesuffix(SUFFIX)).register_parameter(WEIGHT, None)
    others = {name: key for name, key in weights.tensors.items() if name not in kept}
    quantised = {name: layer for name, layer in weights.quantised.items() if name in others}
    plain = replace(weights, tensors=others, quantised=quantised)
    state = plain.load(shapes, weights.plain_dtype or torch.bfloat16)
    network = assign(network, {name: tensor.reshape(shapes[name]) for name, tensor in state.items()})
    recipes: Counter[str] = Counter()
    for name in kept:
        module = network.get_submodule(name.removesuffix(SUFFIX))
        assert isinstance(module, StoredLinear)
        tensors, recipe = _stored(weights, name, shapes[name])
        module.store(tensors, recipe)
        recipes[recipe.name] += 1
    formats = ", ".join(f"{count} {recipe}" for recipe, count in recipes.most_common())
    log.info("%s: layers kept as stored, dequantised in each call: %s", weights.file.path, formats)
    return network


def _keeps(network: nn.Module, name: str, weights: Weights, below: str) -> bool:
    if not name.startswith(below) or not name.endswith(SUFFIX):
        return False
    stored = name in weights.quantised or weights.file.entries[weights.tensors[name]].dtype not in PLAIN
    return stored and isinstance(network.get_submodule(name.removesuffix(SUFFIX)), StoredLinear)


def _stored(weights: Weights, name: str, shape: tuple[int, ...]) -> tuple[dict[str, Tensor], Recipe]:
    file, key, layer = weights.file, weights.tensors[name], weights.quantised.get(name)
    if layer is not None:
        loaded = file.load(list(layer.tensors.values()))
        tensors = {part: loaded[stored] for part, stored in layer.tensors.items()}
        _refuse_odd_scales(weights, layer, tensors)
        return real_input_scale(tensors), Recipe(name=layer.format, dequantise=partial(_formatted, layer), layer=layer)
    kind = file.entries[key].dtype
    if isinstance(file, GGUFCheckpoint):
        return {WEIGHT: file.stored(key)}, Recipe(name=kind, dequantise=partial(_blocks, kind, shape))
    return {WEIGHT: file.load([key])[key]}, Recipe(name=f"{kind} without a scale", dequantise=_cast)


def _formatted(layer: QuantisedLayer, tensors: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
    return dequantise(tensors, layer).to(dtype)  # exact in float32, rounded once


def _blocks(kind: str, shape: tuple[int, ...], tensors: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
    return dequantise_blocks(tensors[WEIGHT], kind).view(shape).to(dtype)


def _cast(tensors: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
    return tensors[WEIGHT].to(dtype)


def _refuse_odd_scales(weights: Weights, layer: QuantisedLayer, tensors: Mapping[str, Tensor]) -> None:
    """The scales of whole tensors and rows; those of blocks are as large as small weights and stay unread."""
    for part in (SCALE, SCALE_2, INPUT_SCALE):
        scale = tensors.get(part)
        if scale is not None and scale.dtype is torch.float32 and not bool(scale.isfinite().all()):
            raise CheckpointError(
                f"{weights.file.path}: {layer.tensors[part]}: expected finite scales, found NaN or infinity; "
                "the file is damaged, download it again"
            )
