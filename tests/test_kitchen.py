"""The optional package for fast products: our interface to it, and when it is trusted."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from openltx.model_loaders.operations import kitchen, tell_ways
from openltx.model_loaders.operations.linear import Recipe, StoredLinear
from openltx.model_loaders.quantisation.activations import quantised_input
from openltx.model_loaders.quantisation.formats import dequantise
from openltx.model_loaders.quantisation.layer import QuantisedLayer
from openltx.model_loaders.quantisation.quantise import quantise_int8

CPU = torch.device("cpu")
ROWS, COLUMNS = 64, 256
KINDS = [("int8_tensorwise", None), ("int8_tensorwise", 64), ("nvfp4", None), ("mxfp8", None)]


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if this device had them."""
    monkeypatch.setattr(kitchen, "_has_kernels", lambda device, kind: True)
    kitchen._works_on.cache_clear()
    yield
    kitchen._works_on.cache_clear()


def exact_int8(x: Tensor, weight: Tensor, scale: Tensor, bias: None, dtype: torch.dtype, **rotation: Any) -> Tensor:
    """What the package's function promises, by our exact path."""
    group = rotation.get("convrot_groupsize") if rotation.get("convrot") else None
    tensors = {"weight": weight, "weight_scale": scale}
    layer = QuantisedLayer(name="x", format="int8_tensorwise", tensors={}, rotation=group)
    return (quantised_input(x, tensors, layer) @ dequantise(tensors, layer).t()).to(dtype)


def stored(rotation: int | None = None) -> tuple[StoredLinear, Tensor]:
    weight = torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(1)) * 0.05
    tensors = quantise_int8(weight, rotation=rotation)
    layer = QuantisedLayer(
        name="x", format="int8_tensorwise", tensors={name: name for name in tensors}, rotation=rotation
    )
    module = StoredLinear(COLUMNS, ROWS).requires_grad_(False)
    module.store(tensors, Recipe(name="int8", dequantise=lambda t, dtype: dequantise(t, layer).to(dtype), layer=layer))
    return module.to(torch.bfloat16), weight


@pytest.mark.parametrize("rotation", [None, 64])
def test_a_stored_layer_takes_a_product_that_is_right(
    kernels: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, rotation: int | None
) -> None:
    calls: list[int] = []

    def counted(*arguments: Any, **rotation: Any) -> Tensor:
        calls.append(1)
        return exact_int8(*arguments, **rotation)

    monkeypatch.setattr(kitchen, "_package", lambda: SimpleNamespace(int8_linear=counted))
    module, weight = stored(rotation)
    x = torch.randn(2, 3, COLUMNS).to(torch.bfloat16)
    with caplog.at_level(logging.INFO):
        tell_ways(torch.nn.Sequential(module, module, torch.nn.Linear(1, 1)), CPU, torch.bfloat16)
    found = [module(x) for _ in range(2)][0]
    expected = torch.nn.functional.linear(x.float(), weight, module.bias.float())
    assert found.shape == (2, 3, ROWS)
    assert float((found.float() - expected).abs().max()) < 0.05
    assert len(calls) == 3  # once to try it
    assert [record.message for record in caplog.records] == [
        "Sequential on cpu, layers kept as stored: 1 int8: products by comfy-kitchen"
    ]


@pytest.mark.parametrize("fault", ["wrong", "raises"])
def test_a_package_that_is_wrong_or_fails_is_not_trusted(
    kernels: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    def broken(*arguments: Any, **rotation: Any) -> Tensor:
        if fault == "raises":
            raise RuntimeError("no kernel\nfor this device")
        return exact_int8(*arguments, **rotation) * 1.1

    monkeypatch.setattr(kitchen, "_package", lambda: SimpleNamespace(int8_linear=broken))
    module, weight = stored()
    x = torch.randn(3, COLUMNS).to(torch.bfloat16)
    expected = torch.nn.functional.linear(x, module.dense_weight(x.dtype), module.bias)
    assert torch.equal(module(x), expected)
    assert torch.equal(module(x), expected)
    told = "came out wrong" if fault == "wrong" else r"(no kernel)"
    assert len(caplog.records) == 1
    assert told in caplog.records[0].message
    assert "dequantised in each call" in caplog.records[0].message


def test_without_kernels_or_in_full_precision_the_exact_path_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    module, _ = stored()
    layer, tensors = module.recipe.layer if module.recipe else None, module._tensors()
    assert layer is not None
    x = torch.randn(3, COLUMNS).to(torch.bfloat16)
    assert not kitchen.can_multiply(x, tensors, layer)  # the processor has none
    monkeypatch.setattr(kitchen, "_has_kernels", lambda device, kind: True)
    monkeypatch.setattr(kitchen, "_works_on", lambda *trial: True)
    assert kitchen.can_multiply(x, tensors, layer)
    assert not kitchen.can_multiply(x.float(), tensors, layer)
    full = QuantisedLayer(name="x", format=layer.format, tensors=layer.tensors, full_precision=True)
    assert not kitchen.can_multiply(x, tensors, full)


@pytest.mark.skipif(find_spec("comfy_kitchen") is None, reason="NOT TESTED: comfy-kitchen itself; it is not installed")
@pytest.mark.parametrize(("kind", "rotation"), KINDS)
def test_the_package_itself_by_its_plain_path(kernels: None, kind: str, rotation: int | None) -> None:
    """Where this torch runs it on the processor; 4-bit and block products need a GPU, and then are not trusted."""
    works = kitchen._works_on(CPU, kind, torch.bfloat16, rotation)
    assert works or kind != "int8_tensorwise"
