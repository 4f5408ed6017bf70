"""A network of `stored_operations` + quantised tensors of a file → a network that keeps them as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..networks.operations import Operations, torch_operations
from .assemble import assign, build_on_meta, refuse_mismatch
from .checkpoint import CheckpointError
from .collector import uncollected
from .gguf.blocks import dequantise_blocks
from .gguf.file import GGUFCheckpoint
from .operations import Recipe, StoredLinear, stored_operations
from .quantisation.formats import dequantise
from .quantisation.layer import INPUT_SCALE, SCALE, SCALE_2, WEIGHT, QuantisedLayer, real_input_scale
from .quantisation.weights import PLAIN, Weights, assemble_plain

Network = TypeVar("Network", bound=nn.Module)
SUFFIX = f".{WEIGHT}"


@uncollected()
def assemble_kept(
    build: Callable[[Operations], Network], parts: Sequence[Weights], *, operations: Operations, below: str, what: str
) -> Network:
    """As `assemble_plain`, but with torch's plain layers a quantised weight stays as it is stored.

    below: see `assign_stored`. A host's layers take plain weights only.
    """
    if operations is not torch_operations or not any(part.is_quantised for part in parts):
        return assemble_plain(lambda: build(operations), parts, what=what)
    for part in parts:
        part.file.read_ahead(part.names)
    network = build_on_meta(lambda: build(stored_operations))
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    shapes = {name: shape for part in parts for name, shape in part.shapes_for(expected).items()}
    refuse_mismatch(network, shapes, parts[0].file, what)
    return assign_stored(network, parts, shapes, below=below)


def assign_stored(
    network: Network, parts: Sequence[Weights], shapes: Mapping[str, tuple[int, ...]], *, below: str
) -> Network:
    """Give a network on the meta device its tensors; names and shapes have been checked against it.

    Linear layers whose names start with `below` keep quantised weights in stored form; every other quantised weight
    becomes a plain one in the dtype of the plain ones beside it, or bfloat16.
    Raises CheckpointError for a scale that is no finite number.
    """
    dtype = next((part.plain_dtype for part in parts if part.plain_dtype is not None), torch.bfloat16)
    state: dict[str, Tensor] = {}
    kept = {id(part): [name for name in part.tensors if _keeps(network, name, part, below)] for part in parts}
    for part in parts:
        state |= _without(part, kept[id(part)]).load(shapes, dtype)
        for name in kept[id(part)]:
            network.get_submodule(name.removesuffix(SUFFIX)).register_parameter(WEIGHT, None)
    network = assign(network, {name: tensor.reshape(shapes[name]) for name, tensor in state.items()})
    for part in parts:
        _store(network, part, kept[id(part)], shapes)
    return network


def _without(weights: Weights, kept: Sequence[str]) -> Weights:
    others = {name: key for name, key in weights.tensors.items() if name not in set(kept)}
    quantised = {name: layer for name, layer in weights.quantised.items() if name in others}
    return replace(weights, tensors=others, quantised=quantised)


def _store(network: nn.Module, weights: Weights, kept: Sequence[str], shapes: Mapping[str, tuple[int, ...]]) -> None:
    for name in kept:
        module = network.get_submodule(name.removesuffix(SUFFIX))
        assert isinstance(module, StoredLinear)
        tensors, recipe = _stored(weights, name, shapes[name])
        module.store(tensors, recipe)


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
        _refuse_misfits(weights, layer, tensors)
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


def _refuse_misfits(weights: Weights, layer: QuantisedLayer, tensors: Mapping[str, Tensor]) -> None:
    """Now, not in the first step of a run: parts whose shapes do not fit each other. Nothing is read or computed."""
    try:
        dequantise({part: tensor.to("meta") for part, tensor in tensors.items()}, layer)
    except ValueError as error:
        raise CheckpointError(f"{weights.file.path}: {error}; download the file again") from error


def _refuse_odd_scales(weights: Weights, layer: QuantisedLayer, tensors: Mapping[str, Tensor]) -> None:
    """The scales of whole tensors and rows; those of blocks are as large as small weights and stay unread."""
    for part in (SCALE, SCALE_2, INPUT_SCALE):
        scale = tensors.get(part)
        if scale is not None and scale.dtype is torch.float32 and not bool(scale.isfinite().all()):
            raise CheckpointError(
                f"{weights.file.path}: {layer.tensors[part]}: expected finite scales, found NaN or infinity; "
                "the file is damaged, download it again"
            )
