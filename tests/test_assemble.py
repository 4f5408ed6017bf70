"""Building without storage and giving tensors: nothing initialised, nothing copied, every mismatch loud."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from openltx.model_loaders.assemble import assign, build_on_meta
from openltx.model_loaders.collector import uncollected


class Small(nn.Module):
    """A layer of each kind that networks have, a table of its own, two kinds of buffers."""

    def __init__(self, linear: type[nn.Linear] = nn.Linear) -> None:
        super().__init__()
        self.layers = nn.ModuleList([linear(2, 3), nn.Conv1d(1, 2, 1), nn.LayerNorm(2), nn.Embedding(2, 2)])
        self.table = nn.Parameter(torch.zeros(2))
        self.register_buffer("kept", torch.ones(2))
        self.register_buffer("passing", torch.ones(2), persistent=False)


class OwnWay(nn.Linear):
    """As a host's layer that takes its tensors by itself."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        state_dict[f"{prefix}weight"] = state_dict[f"{prefix}weight"] * 2
        super()._load_from_state_dict(state_dict, prefix, *rest)


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return {name: torch.rand_like(tensor) for name, tensor in Small().state_dict().items()}


def test_tensors_are_taken_as_they_are(state: dict[str, torch.Tensor]) -> None:
    state["layers.0.weight"] = state["layers.0.weight"].to(torch.bfloat16)
    network = assign(build_on_meta(Small), state)
    assert {name: tensor.data_ptr() for name, tensor in network.state_dict().items()} == {
        name: tensor.data_ptr() for name, tensor in state.items()
    }
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert isinstance(network.layers[0].weight, nn.Parameter)
    assert network.layers[0].weight.dtype is torch.bfloat16


def test_layers_that_load_in_their_own_way_do(state: dict[str, torch.Tensor]) -> None:
    network = assign(build_on_meta(lambda: Small(OwnWay)), state)
    assert torch.equal(network.layers[0].weight, state["layers.0.weight"] * 2)  # type: ignore[arg-type]
    assert torch.equal(network.table, state["table"])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: state.pop("table"),
        lambda state: state.update(unknown=torch.ones(1)),
        lambda state: state.update(table=torch.ones(3)),
        lambda state: state.update(passing=torch.ones(2)),
    ],
)
def test_other_names_and_shapes_are_our_fault(
    state: dict[str, torch.Tensor], spoil: Callable[[dict[str, torch.Tensor]], object]
) -> None:
    spoil(state)
    with pytest.raises(AssertionError):
        assign(build_on_meta(Small), state)


def test_the_collector_comes_back_as_it_was() -> None:
    with uncollected(), uncollected():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(KeyError), uncollected():
        raise KeyError
    assert gc.isenabled()
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_nothing_is_initialised_inside_and_all_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    state = torch.random.get_rng_state()
    network = build_on_meta(Small)
    assert all(tensor.is_meta for tensor in network.state_dict().values())
    assert torch.equal(torch.random.get_rng_state(), state)
    filled = nn.init.constant_(torch.empty(3), 2.0)
    assert filled.tolist() == [2, 2, 2]
    assert nn.Linear(4, 4).weight.std() > 0
