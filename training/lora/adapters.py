"""Low-rank adapters around linear layers of a network; its own weights stay frozen, in their dtype or stored form."""

# K features in, N features out, r rank
from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any
from zlib import crc32

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ...model_loaders.lora.adapters import LowRank


class AdaptedLinear(nn.Module):
    """A linear layer plus scale * (x downᵀ) upᵀ, in the place of the layer.

    down (r, K) and up (N, r) are float32 and are cast to the dtype of the input in each call; up begins at zero, so
    that the network begins as it was.
    """

    def __init__(self, base: nn.Linear, *, rank: int, scale: float, seed: int) -> None:
        super().__init__()
        device = next(base.parameters()).device
        self.base, self.scale = base, scale
        generator = torch.Generator().manual_seed(seed)
        down = torch.rand(rank, base.in_features, generator=generator) * 2 - 1
        self.down = nn.Parameter((down / math.sqrt(base.in_features)).to(device))
        self.up = nn.Parameter(torch.zeros(base.out_features, rank, device=device))

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.base(x)
        return output + LowRank(down=self.down, up=self.up, scale=self.scale)(x)

    @property
    def weight(self) -> Tensor:
        """The layer's own: networks read its dtype."""
        return self.base.weight

    @property
    def out_features(self) -> int:
        return self.base.out_features


class Adapters(nn.Module):
    """The adapters of a network under the names of their layers: what is trained, saved and exported."""

    def __init__(self, layers: Mapping[str, AdaptedLinear]) -> None:
        super().__init__()
        self.layers = dict(layers)  # no sub-modules: the frozen layers inside must not be part of it
        for name, layer in layers.items():
            flat = name.replace(".", "/")
            self.register_parameter(f"{flat}/down", layer.down)
            self.register_parameter(f"{flat}/up", layer.up)


class CheckpointedBlock(nn.Module):
    """A block whose inside is computed again in the backward pass instead of being kept."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block

    def forward(self, *arguments: Any) -> Any:
        if not torch.is_grad_enabled():
            return self.block(*arguments)
        return checkpoint(self.block, *arguments, use_reentrant=False)


def add_adapters(network: nn.Module, names: Sequence[str], *, rank: int, scale: float, seed: int) -> Adapters:
    """Put an adapter around each linear layer of these names; everything else of the network stops learning."""
    network.requires_grad_(False)
    layers: dict[str, AdaptedLinear] = {}
    for name in names:
        base = network.get_submodule(name)
        assert isinstance(base, nn.Linear)
        layers[name] = AdaptedLinear(base, rank=rank, scale=scale, seed=crc32(f"{seed} {name}".encode()))
        owner, _, last = name.rpartition(".")
        setattr(network.get_submodule(owner), last, layers[name])
    return Adapters(layers)


def matching_layers(network: nn.Module, targets: Iterable[str]) -> list[str]:
    """Names of the linear layers that a target names, whole or by its end; in the network's order.

    Raises ValueError, one line, for a target that names none.
    """
    linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    found: set[str] = set()
    for target in targets:
        own = {name for name in linear if fnmatchcase(name, target) or fnmatchcase(name, f"*.{target}")}
        if not own:
            near = ", ".join(get_close_matches(target, linear, n=2, cutoff=0.0))
            raise ValueError(f"lora.targets: {target!r} matches no linear layer; the nearest are {near}")
        found |= own
    if not found:
        raise ValueError("lora.targets: expected at least one pattern, found none")
    return [name for name in linear if name in found]


def checkpoint_blocks(blocks: nn.ModuleList) -> None:
    """Activations of a block are then not kept for the backward pass: a third more time, a fraction of the memory."""
    for index, block in enumerate(blocks):
        blocks[index] = CheckpointedBlock(block)
