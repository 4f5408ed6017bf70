"""Several LoRAs into one network: merged into plain weights, applied at run time to stored ones."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ..operations import StoredLinear
from .adapters import LowRank, adapted_bias, adapted_weight, changes_bias, changes_weight, check_adapter, low_rank
from .file import LoraFile
from .keys import Matched
from .strengths import LoraStrengths


@dataclass(frozen=True, kw_only=True)
class LoraUse:
    """One LoRA for one model: which of its keys change which layers, and how much."""

    lora: LoraFile
    matched: Matched
    strengths: LoraStrengths


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """What a LoRA changes one layer by: tensors by the names of `keys`."""

    parts: Mapping[str, Tensor]
    strength: float


def apply_loras(
    network: nn.Module, uses: Sequence[LoraUse], *, later: Callable[[str], bool] = lambda layer: False
) -> dict[str, list[Adapter]]:
    """Change a network that no LoRA has changed yet; returns what is left to do.

    later: plain layers, by name, that the caller changes himself when he uses them; stored ones are never left.

    Plain weights are computed anew: all updates in float32, one rounding at the end, in memory of their own (the file
    stays as it is). Stored ones keep their form: at the size of an update nothing of it would survive in 4 or 8 bits.
    Raises ValueError, one line with the layer's name, for updates that do not fit.
    """
    modules = dict(network.named_modules())
    left: dict[str, list[Adapter]] = {}
    for layer, adapters in adapters_by_layer(uses).items():
        module = modules.get(layer)
        for adapter in adapters:
            check_adapter(adapter.parts, *_shapes(modules, layer), layer=layer)
        if isinstance(module, StoredLinear) and module.recipe is not None:
            _adapt_stored(module, layer, adapters)
        elif later(layer):
            left[layer] = adapters
            continue
        else:
            owner, name = (module, "weight") if module is not None else _owner(modules, layer)
            _merge(owner, name, layer, [a for a in adapters if changes_weight(a.parts)])
        if module is not None:
            _merge_bias(module, layer, [a for a in adapters if changes_bias(a.parts)])
    return left


def _shapes(modules: Mapping[str, nn.Module], layer: str) -> tuple[torch.Size | None, torch.Size | None]:
    """Of the weight and of the bias that an adapter of this layer changes."""
    module = modules.get(layer)
    if isinstance(module, StoredLinear):
        weight: torch.Size | None = torch.Size((module.out_features, module.in_features))
    else:
        owner, name = (module, "weight") if module is not None else _owner(modules, layer)
        found = getattr(owner, name, None)
        weight = found.shape if isinstance(found, Tensor) else None
    bias = getattr(module, "bias", None)
    return weight, bias.shape if isinstance(bias, Tensor) else None


def adapters_by_layer(uses: Sequence[LoraUse]) -> dict[str, list[Adapter]]:
    """Of each layer that changes, in the order of the LoRAs; those of strength 0 are left out."""
    found: defaultdict[str, list[Adapter]] = defaultdict(list)
    for use in uses:
        names = [name for parts in use.matched.layers.values() for name in parts.values()]
        use.lora.file.read_ahead(names)
        loaded = use.lora.file.load(names)
        for layer, parts in use.matched.layers.items():
            strength = use.strengths.of(layer)
            if strength != 0:
                tensors = {part: loaded[name] for part, name in parts.items()}
                found[layer].append(Adapter(parts=tensors, strength=strength))
    return found


def _adapt_stored(module: StoredLinear, layer: str, adapters: Sequence[Adapter]) -> None:
    """In order: pairs add up whatever else there is, everything else works on the weight."""
    pairs: list[LowRank] = []
    for adapter in adapters:
        pair = low_rank(adapter.parts, adapter.strength)
        if pair is not None:
            _refuse_misfit(module, layer, pair)
            pairs.append(pair)
        elif changes_weight(adapter.parts):
            change = partial(_changed, parts=adapter.parts, strength=adapter.strength, layer=layer)
            module.changes = (*module.changes, change)
    if pairs:
        module.add_pairs(pairs)


def _changed(weight: Tensor, *, parts: Mapping[str, Tensor], strength: float, layer: str) -> Tensor:
    here = {name: part.to(weight.device) for name, part in parts.items()}
    return adapted_weight(weight, here, strength, layer=layer)


def _refuse_misfit(module: StoredLinear, layer: str, pair: LowRank) -> None:
    found = (pair.up.shape[0], pair.down.shape[1])
    if found != (module.out_features, module.in_features):
        raise ValueError(
            f"{layer}: expected an update of shape {(module.out_features, module.in_features)}, found {found}; "
            "the LoRA was made for another model"
        )


def _owner(modules: Mapping[str, nn.Module], name: str) -> tuple[nn.Module, str]:
    """The module of a parameter that is no layer's weight, for instance of a modulation table."""
    path, _, last = name.rpartition(".")
    return modules[path], last


def _merge(owner: nn.Module, name: str, layer: str, adapters: Sequence[Adapter]) -> None:
    if adapters:
        merged = merged_weight(getattr(owner, name).detach(), layer, adapters)
        setattr(owner, name, nn.Parameter(merged, requires_grad=False))


def merged_weight(stored: Tensor, layer: str, adapters: Sequence[Adapter]) -> Tensor:
    """A plain weight with its updates, computed in float32 where the weight lies, rounded once to its dtype."""
    weight = stored.float()
    for adapter in adapters:
        here = {name: part.to(weight.device) for name, part in adapter.parts.items()}
        weight = adapted_weight(weight, here, adapter.strength, layer=layer)
    if weight.shape != stored.shape:
        raise ValueError(
            f"{layer}: expected an update that keeps the shape {tuple(stored.shape)}, found one that makes it "
            f"{tuple(weight.shape)}; this LoRA needs a model of another shape"
        )
    return weight.to(stored.dtype)


def _merge_bias(module: nn.Module, layer: str, adapters: Sequence[Adapter]) -> None:
    if not adapters:
        return
    found = getattr(module, "bias", None)
    if not isinstance(found, Tensor):
        raise ValueError(f"{layer}: expected no update of a bias, found one; the LoRA was made for another model")
    module.bias = nn.Parameter(merged_bias(found.detach(), layer, adapters), requires_grad=False)


def merged_bias(stored: Tensor, layer: str, adapters: Sequence[Adapter]) -> Tensor:
    """As `merged_weight`, for a bias."""
    bias = stored.float()
    for adapter in adapters:
        here = {name: part.to(bias.device) for name, part in adapter.parts.items()}
        bias = adapted_bias(bias, here, adapter.strength, layer=layer)
    return bias.to(stored.dtype)
