"""Networks on an accelerator give way to each other; what does not fit there runs on the CPU, and the user is told.

The meta device stands for an accelerator: what lies there has no values, so results must come from the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from openltx.model_loaders import residents
from openltx.model_loaders.parts import Lazy
from openltx.model_loaders.residents import evictable, in_use, make_room
from openltx.model_loaders.text_conditioning import ConditioningCache
from openltx.nodes import whole_parts
from openltx.nodes.conditioning import EncodePrompt
from openltx.nodes.load import INSIDE, LoadModel
from openltx.nodes.whole_parts import run_part
from openltx.plan.machine import Machine

DEVICE = torch.device("meta")
WEIGHTS = 4 * 100  # bytes of one network


@pytest.fixture(autouse=True)
def nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residents, "_used", {})


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A device with room for so many networks."""

    def of(count: int) -> None:
        monkeypatch.setattr(residents, "free_vram", lambda device: count * WEIGHTS - evictable(device))

    return of


def network() -> Lazy[nn.Linear]:
    return Lazy(lambda: nn.Linear(10, 10, bias=False), torch.float32)


def test_the_one_that_was_used_least_lately_gives_way(room: Callable[[int], None]) -> None:
    room(2)
    first, second, third = network(), network(), network()
    for lazy in (first, second, first, third):
        assert lazy.on(DEVICE).weight.is_meta
    assert first.idle() is not None
    assert second.idle() is None
    assert third.idle() is not None
    assert evictable(DEVICE) == 2 * WEIGHTS
    assert evictable(DEVICE, keep=first) == WEIGHTS
    assert second.on(DEVICE).weight.is_meta  # read again
    assert first.idle() is None


def test_activations_want_room_too(room: Callable[[int], None]) -> None:
    room(3)
    first, second = network(), network()
    first.on(DEVICE)
    second.on(DEVICE, memory=WEIGHTS)
    assert first.idle() is not None
    second.on(DEVICE, memory=WEIGHTS + 1)
    assert first.idle() is None


def test_what_works_never_gives_way(room: Callable[[int], None]) -> None:
    room(1)
    first, second = network(), network()
    first.on(DEVICE)
    with in_use(first):
        second.on(DEVICE)
        assert first.idle() is not None
    make_room(DEVICE)
    assert first.idle() is None
    assert second.idle() is None


def test_networks_on_a_cpu_are_left_alone(room: Callable[[int], None]) -> None:
    room(0)
    first, second = network(), network()
    first.on(torch.device("cpu"))
    second.on(torch.device("cpu"))
    assert first.idle() is not None


class Short:
    """Works on the CPU only."""

    def __init__(self) -> None:
        self.places = list[str]()

    def __call__(self, network: nn.Linear) -> Tensor:
        self.places.append(network.weight.device.type)
        if network.weight.is_meta:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return network(torch.ones(10))  # type: ignore[no-any-return]


def no_ways(*_: object) -> Iterator[Any]:
    return iter(())


def test_out_of_memory_goes_on_on_the_cpu(monkeypatch: pytest.MonkeyPatch, room: Callable[[int], None]) -> None:
    room(5)
    told, run, other = list[str](), Short(), network()
    other.on(DEVICE)
    monkeypatch.setattr(whole_parts, "warn_user", told.append)
    monkeypatch.setattr(whole_parts, "compute_device", lambda: DEVICE)
    assert run_part(network(), run, "encoding the prompt", no_ways).shape == (10,)
    assert run.places == ["meta", "cpu"]
    assert told == ["encoding the prompt: out of memory on meta, going on on the CPU"]
    assert other.idle() is None


def test_the_last_place_ends_with_one_line() -> None:
    def never(network: nn.Linear) -> Tensor:
        raise MemoryError

    with pytest.raises(ValueError, match="upscaling: out of memory, and the plan has no way") as error:
        run_part(network(), never, "upscaling", no_ways)
    assert "\n" not in str(error.value)


def test_other_errors_are_not_swallowed() -> None:
    def wrong(network: nn.Linear) -> Tensor:
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        run_part(network(), wrong, "upscaling", no_ways)


@pytest.mark.parametrize(("vram", "place"), [(1_001_000_000, "cpu"), (2_000_000_000, "cuda")])
def test_a_prompt_is_encoded_where_the_plan_says(vram: int, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """1 GB is the driver's own: 1 MB is left, or 1 GB."""
    text = LoadModel.execute("openltx-tiny-2.3.safetensors", INSIDE, "float32").args[1]
    text.encoder.read().cache = ConditioningCache(0)
    told, asked = list[str](), list[str]()
    monkeypatch.setattr(whole_parts, "warn_user", told.append)
    monkeypatch.setattr(whole_parts, "compute_device", lambda: torch.device("cuda"))
    machine = Machine(device="cuda", free_vram=vram, free_ram=2**34)
    monkeypatch.setattr(whole_parts, "this_machine", lambda *_, **__: machine)
    original = Lazy.on

    def on(lazy: Lazy[Any], device: torch.device, *, memory: int = 0) -> Any:
        asked.append(device.type)
        return original(lazy, torch.device("cpu"), memory=memory)

    monkeypatch.setattr(Lazy, "on", on)
    EncodePrompt.execute(text, "a blue box slides")
    assert asked == [place]
    assert told == (["encoding the prompt: on the CPU, because it does not fit cuda"] if place == "cpu" else [])
