"""Which way the layers of a network take on a device: said once, when the network is brought there."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator

import torch
from torch import nn

from .linear import StoredLinear

log = logging.getLogger(__name__)


def tell_ways(loaded: object, device: torch.device, dtype: torch.dtype) -> None:
    """One line for a network, or a handle that holds several, with stored weights; none for plain ones.

    dtype: of the inputs. Fast ways are tried here, not in the first step of a run.
    """
    x = torch.empty(0, device=device, dtype=dtype)
    stored = (module for module in _modules(loaded) if isinstance(module, StoredLinear))
    ways = Counter((module.recipe.name, module.way(x)) for module in stored if module.recipe is not None)
    if ways:
        layers = "; ".join(f"{count} {name}: {way}" for (name, way), count in ways.most_common())
        log.info("%s on %s, layers kept as stored: %s", type(loaded).__name__, device, layers)


def _modules(loaded: object) -> Iterator[nn.Module]:
    networks = [loaded] if isinstance(loaded, nn.Module) else list(getattr(loaded, "__dict__", {}).values())
    for network in networks:
        if isinstance(network, nn.Module):
            yield from network.modules()
