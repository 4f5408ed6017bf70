"""Networks that are called whole (text encoder, upscaler, sound), where the plan says: on the device or on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from ..model_loaders.parts import Lazy, Movable, weights_of
from ..model_loaders.residents import evictable, make_room
from ..plan.choose import fits
from ..plan.machine import Machine, this_machine
from ..plan.phases import Way
from ..plan.sizes import Weights
from .host.api import compute_device, warn_user
from .memory import is_out_of_memory, refuse_lost

Network = TypeVar("Network", bound=Movable)
Result = TypeVar("Result")
Ways = Callable[[Network, Weights, Machine], Iterator[Way]]
CPU = torch.device("cpu")


def run_part(lazy: Lazy[Network], run: Callable[[Network], Result], what: str, ways: Ways[Network]) -> Result:
    """`run(network)` on the device, or on the CPU where the plan finds no room there or memory runs out.

    Others give way first. ways: of the plan, from the network, its weights and the machine. A host that pages weights
    places them itself. Raises ValueError, one line, where memory runs out on the last of these places.
    """
    device = compute_device()
    places = [device] if device.type == "cpu" or lazy.paged else [device, CPU]
    if len(places) > 1 and device.type == "cuda" and not _fits(lazy, ways, device):
        places = [CPU]
        warn_user(f"{what}: on the CPU, because it does not fit {device}")
    for place in places:
        try:
            return run(lazy.on(place))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                refuse_lost(error)
                raise
            failed = error.with_traceback(None)  # its frames hold what is to be freed
        if place is not places[-1]:
            lazy.drop()
            make_room(device)
            warn_user(f"{what}: out of memory on {place}, going on on the CPU")
    raise ValueError(
        f"{what}: out of memory, and the plan has no way that needs less ({failed}); make the clip shorter "
        "or smaller, or free memory"
    ) from failed


def _fits(lazy: Lazy[Network], ways: Ways[Network], device: torch.device) -> bool:
    network = lazy.read()
    weights = Weights(outside=sum(map(lazy.size, weights_of(network))))
    machine = this_machine(device, given_back=evictable(device))
    chosen = next((way for way in ways(network, weights, machine) if fits(way, machine)), None)
    return chosen is None or not chosen.on_host
