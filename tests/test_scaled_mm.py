"""Products of 8-bit floats as GPUs take them, run on the CPU, which has the same operator: the same numbers as the
exact path.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from openltx.model_loaders.operations import scaled_mm
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
