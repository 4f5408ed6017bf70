"""Products of 8-bit floats on GPUs that have them (quantization.md sections 3 and 9).

Only for layers that were calibrated for it: with a real input scale, E4M3, both sizes multiples of 16. A device is
trusted after one small product there came out right; where it does not, the exact path is taken and said so once.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor

from ..quantisation.layer import INPUT_SCALE, SCALE, WEIGHT, QuantisedLayer

FIRST_CAPABILITY = (8, 9)
MULTIPLE = 16
DTYPES = (torch.bfloat16, torch.float16)
E4M3_MAX = 448.0
CHECK_SIZE = 64
CHECK_TOLERANCE = 0.02  # relative, of the largest value: outputs are rounded to bfloat16

log = logging.getLogger(__name__)


def can_multiply(x: Tensor, tensors: Mapping[str, Tensor], layer: QuantisedLayer) -> bool:
    """Whether the product of x with this layer's weight may be taken in 8 bits where x lies."""
    if layer.format != "float8_e4m3fn" or layer.full_precision or INPUT_SCALE not in tensors:
        return False
    sizes = tensors[WEIGHT].shape
    fits = x.dtype in DTYPES and not any(size % MULTIPLE for size in sizes)
    return fits and _has_units(x.device) and _works_on(x.device)


def scaled_product(x: Tensor, tensors: Mapping[str, Tensor], bias: Tensor | None) -> Tensor:
    """x (…, K), bfloat16 or float16, times the weight of a layer → (…, N) in the dtype of x.

    The input is scaled in float32, so that it is rounded once, and clamped before the cast: E4M3 has no infinity,
    larger values would be NaN.
    """
    input_scale = tensors[INPUT_SCALE].reshape(()).float()
    rows = x.reshape(-1, x.shape[-1])
    quantised = (rows.float() * (1 / input_scale)).clamp(-E4M3_MAX, E4M3_MAX).to(torch.float8_e4m3fn)
    product = torch._scaled_mm(
        quantised,
        tensors[WEIGHT].t(),
        scale_a=input_scale,
        scale_b=tensors[SCALE].reshape(()).float(),
        out_dtype=x.dtype,
        use_fast_accum=True,
    )
    product = product.reshape(*x.shape[:-1], -1)
    return product if bias is None else product + bias


@cache
def _has_units(device: torch.device) -> bool:
    """A CPU has the operator, but no faster one than ours."""
    if device.type != "cuda" or torch.version.hip is not None:
        return False
    return torch.cuda.get_device_capability(device) >= FIRST_CAPABILITY


@cache
def _works_on(device: torch.device) -> bool:
    """One small product; says once where it did not come out."""
    x = torch.linspace(-2, 2, CHECK_SIZE**2, device=device).view(CHECK_SIZE, CHECK_SIZE).to(torch.bfloat16)
    one = torch.ones((), device=device)
    weight = x.flip(0).to(torch.float8_e4m3fn)
    expected = x.to(torch.float8_e4m3fn).float() @ weight.float().t()
    try:
        found = scaled_product(x, {WEIGHT: weight, SCALE: one, INPUT_SCALE: one}, None).float()
    except (RuntimeError, TypeError) as error:
        log.warning("no products of 8-bit floats on %s (%s); weights are dequantised in each call", device, error)
        return False
    right = bool((found - expected).abs().max() <= CHECK_TOLERANCE * expected.abs().max())
    if not right:
        log.warning("products of 8-bit floats on %s came out wrong; weights are dequantised in each call", device)
    return right
