"""Products of 8-bit floats as GPUs take them, run on the CPU, which has the same operator: the same numbers as the
exact path.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from openltx.model_loaders.operations import scaled_mm, tell_ways
from openltx.model_loaders.operations.linear import Recipe, StoredLinear
from openltx.model_loaders.quantisation.activations import quantised_input
from openltx.model_loaders.quantisation.formats import dequantise
from openltx.model_loaders.quantisation.layer import INPUT_SCALE, SCALE, WEIGHT, QuantisedLayer
from openltx.model_loaders.quantisation.quantise import quantise_fp8_scaled

ROWS, COLUMNS = 48, 64
LAYER = QuantisedLayer(
    name="layer", format="float8_e4m3fn", tensors={name: name for name in (WEIGHT, SCALE, INPUT_SCALE)}
)


def _cpu_multiplies() -> bool:
    small = torch.ones(16, 16).to(torch.float8_e4m3fn)
    one = torch.ones(())
    try:
        torch._scaled_mm(small, small.t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16)
    except (RuntimeError, NotImplementedError):
        return False
    return True


pytestmark = pytest.mark.skipif(not _cpu_multiplies(), reason="NOT TESTED: _scaled_mm; this torch has none on the CPU")


def _layer(input_scale: float) -> dict[str, Tensor]:
    weight = torch.randn(ROWS, COLUMNS, generator=torch.Generator().manual_seed(1)) * 0.05
    return quantise_fp8_scaled(weight) | {INPUT_SCALE: torch.tensor(input_scale)}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("loud", [1.0, 1e4])
def test_the_fast_product_is_the_exact_one(dtype: torch.dtype, loud: float) -> None:
    """loud: beyond what the calibrated scale holds, where unclamped casts would be NaN."""
    x = (torch.randn(2, 5, COLUMNS, generator=torch.Generator().manual_seed(2)) * loud).to(dtype)
    tensors, bias = _layer(0.02), torch.randn(ROWS).to(dtype)
    found = scaled_mm.scaled_product(x, tensors, bias)
    rows = quantised_input(x.reshape(-1, COLUMNS), tensors, LAYER)
    exact = rows @ dequantise(tensors, LAYER).t()
    expected = exact.to(dtype).view(2, 5, ROWS) + bias
    assert found.dtype is dtype
    assert bool(found.isfinite().all())
    rounding = torch.finfo(dtype).eps * float(exact.abs().max())
    assert float((found.float() - expected.float()).abs().max()) <= 2 * rounding


# when it is chosen


@pytest.fixture
def units(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if this processor multiplied 8-bit floats faster than others."""
    monkeypatch.setattr(scaled_mm, "_has_units", lambda device: True)
    scaled_mm._works_on.cache_clear()
    yield
    scaled_mm._works_on.cache_clear()


def _stored() -> StoredLinear:
    module = StoredLinear(COLUMNS, ROWS, bias=False).requires_grad_(False)
    recipe = Recipe(name="fp8", dequantise=lambda t, dtype: dequantise(t, LAYER).to(dtype), layer=LAYER)
    module.store(_layer(0.02), recipe)
    return module


@pytest.mark.parametrize("fault", [None, "wrong", "raises"])
def test_it_is_trusted_after_a_trial_only(
    units: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: str | None
) -> None:
    multiply, calls = torch._scaled_mm, []

    def faulty(*arguments: object, **options: object) -> Tensor:
        calls.append(1)
        if fault == "raises":
            raise RuntimeError("no kernel")
        return multiply(*arguments, **options) * (1.1 if fault else 1)  # type: ignore[arg-type]

    monkeypatch.setattr(torch, "_scaled_mm", faulty)
    module, x = _stored(), torch.randn(3, COLUMNS).to(torch.bfloat16)
    with caplog.at_level(logging.INFO, logger="openltx"):
        tell_ways(module, x.device, x.dtype)
    module(x)
    assert len(calls) == (2 if fault is None else 1)
    told = "1 fp8: " + ("products of 8-bit floats" if fault is None else "dequantised in each call")
    assert caplog.records[-1].getMessage() == f"StoredLinear on cpu, layers kept as stored: {told}"
    assert len(caplog.records) == (1 if fault is None else 2)


def test_a_device_without_units_is_never_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaled_mm, "_works_on", lambda device: pytest.fail("tried"))
    x = torch.randn(3, COLUMNS).to(torch.bfloat16)
    assert not scaled_mm.can_multiply(x, _layer(0.02), LAYER)
    monkeypatch.setattr(scaled_mm, "_works_on", lambda device: True)
    monkeypatch.setattr(scaled_mm, "_has_units", lambda device: True)
    assert scaled_mm.can_multiply(x, _layer(0.02), LAYER)
    assert not scaled_mm.can_multiply(x.float(), _layer(0.02), LAYER)
