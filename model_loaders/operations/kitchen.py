"""Products of int8, nvfp4 and mxfp8 weights by the comfy-kitchen package (optional extra `kitchen`).

Only here is that package named. A device is trusted with a format after one small product there came out as the exact
path has it (quantisation/activations.py); where it does not, weights are dequantised in each call, and that is said
once. The activations are quantised as the formats define it (quantization.md sections 4 to 6).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..quantisation.activations import quantised_input
from ..quantisation.formats import dequantise
from ..quantisation.layer import INPUT_SCALE, SCALE, SCALE_2, WEIGHT, QuantisedLayer
from ..quantisation.quantise import SMALLEST_SCALE, global_scale, quantise_int8, quantise_mxfp8, quantise_nvfp4

FIRST_CAPABILITY = {"int8_tensorwise": (7, 5), "nvfp4": (10, 0), "mxfp8": (10, 0)}
DTYPES = (torch.bfloat16, torch.float16)
MULTIPLE = 32  # of both sizes of a weight: what all of its kernels take
CHECK_ROWS, CHECK_SIZE = 33, 256
CHECK_TOLERANCE = 0.02  # relative, of the largest value

log = logging.getLogger(__name__)


def can_multiply(x: Tensor, tensors: Mapping[str, Tensor], layer: QuantisedLayer) -> bool:
    """Whether the product of x with this layer's weight may be taken by the package where x lies."""
    if layer.format not in FIRST_CAPABILITY or layer.full_precision or x.dtype not in DTYPES:
        return False
    fits = not any(size % MULTIPLE for size in tensors[WEIGHT].shape)
    return fits and _has_kernels(x.device, layer.format) and _works_on(x.device, layer.format, x.dtype, layer.rotation)


def product(x: Tensor, tensors: Mapping[str, Tensor], layer: QuantisedLayer, bias: Tensor | None, size: int) -> Tensor:
    """x (…, K), bfloat16 or float16, times the weight of a layer with `size` outputs → (…, size) in the dtype of x."""
    package = _package()
    assert package is not None
    rows = x.reshape(-1, x.shape[-1])
    found = PRODUCTS[layer.format](package, rows, tensors, layer)[: len(rows), :size]
    found = found.reshape(*x.shape[:-1], size)
    return found if bias is None else found + bias


def _int8(package: Any, rows: Tensor, tensors: Mapping[str, Tensor], layer: QuantisedLayer) -> Tensor:
    rotation = {} if layer.rotation is None else {"convrot": True, "convrot_groupsize": layer.rotation}
    found: Tensor = package.int8_linear(rows, tensors[WEIGHT], tensors[SCALE], None, rows.dtype, **rotation)
    return found


def _nvfp4(package: Any, rows: Tensor, tensors: Mapping[str, Tensor], layer: QuantisedLayer) -> Tensor:
    weight, given = tensors[WEIGHT], tensors.get(INPUT_SCALE)
    wide = F.pad(rows, (0, 2 * weight.shape[1] - rows.shape[1]))
    whole = global_scale(wide).float().clamp(min=SMALLEST_SCALE) if given is None else given.reshape(()).float()
    codes, blocks = package.quantize_nvfp4(wide, whole, pad_16x=True)
    scale, scale_2 = tensors[SCALE].view(torch.float8_e4m3fn), tensors[SCALE_2].reshape(()).float()
    found: Tensor = package.scaled_mm_nvfp4(codes, weight, whole, scale_2, blocks, scale, None, rows.dtype)
    return found


def _mxfp8(package: Any, rows: Tensor, tensors: Mapping[str, Tensor], layer: QuantisedLayer) -> Tensor:
    weight = tensors[WEIGHT]
    codes, blocks = package.quantize_mxfp8(F.pad(rows, (0, weight.shape[1] - rows.shape[1])), pad_32x=True)
    scale = tensors[SCALE].view(torch.float8_e8m0fnu)
    found: Tensor = package.scaled_mm_mxfp8(codes, weight, blocks, scale, None, rows.dtype)
    return found


PRODUCTS: dict[str, Callable[[Any, Tensor, Mapping[str, Tensor], QuantisedLayer], Tensor]] = {
    "int8_tensorwise": _int8,
    "nvfp4": _nvfp4,
    "mxfp8": _mxfp8,
}


@cache
def _package() -> Any:
    """comfy-kitchen, or None without the extra."""
    try:
        return import_module("comfy_kitchen")
    except ImportError:
        return None
    except (OSError, RuntimeError) as error:  # its library does not load here
        log.warning("comfy-kitchen cannot be used (%s); weights are dequantised in each call", error)
        return None


@cache
def _has_kernels(device: torch.device, kind: str) -> bool:
    """Its plain torch path would be slower than ours: only devices with kernels count."""
    if device.type != "cuda" or torch.version.hip is not None or _package() is None:
        return False
    return torch.cuda.get_device_capability(device) >= FIRST_CAPABILITY[kind]


@cache
def _works_on(device: torch.device, kind: str, dtype: torch.dtype, rotation: int | None) -> bool:
    """One product with as many inputs as the rotation needs; says once what came of it."""
    layer, tensors, x = _trial(device, kind, dtype, rotation)
    expected = quantised_input(x, tensors, layer) @ dequantise(tensors, layer)[:CHECK_SIZE].t()
    try:
        found = product(x, tensors, layer, None, CHECK_SIZE).float()
    except Exception as error:  # its own kinds of error are not ours to name
        reason = (str(error) or type(error).__name__).splitlines()[0]
        log.warning("no %s products by comfy-kitchen on %s (%s); dequantised in each call", kind, device, reason)
        return False
    if not bool((found - expected).abs().max() <= CHECK_TOLERANCE * expected.abs().max()):
        log.warning("%s products by comfy-kitchen on %s came out wrong; dequantised in each call", kind, device)
        return False
    return True


def _trial(
    device: torch.device, kind: str, dtype: torch.dtype, rotation: int | None
) -> tuple[QuantisedLayer, dict[str, Tensor], Tensor]:
    """A layer of a format and an input for it, the same everywhere."""
    generator, columns = torch.Generator().manual_seed(0), max(CHECK_SIZE, rotation or 0)
    weight = torch.randn(CHECK_SIZE, columns, generator=generator) * 0.05
    x = torch.randn(CHECK_ROWS, columns, generator=generator).to(device, dtype)
    quantise: dict[str, Callable[[], dict[str, Tensor]]] = {
        "int8_tensorwise": lambda: quantise_int8(weight, rotation=rotation),
        "nvfp4": lambda: quantise_nvfp4(weight),
        "mxfp8": lambda: quantise_mxfp8(weight),
    }
    tensors = {part: tensor.to(device) for part, tensor in quantise[kind]().items()}
    layer = QuantisedLayer(name="trial", format=kind, tensors={part: part for part in tensors}, rotation=rotation)
    return layer, tensors, x
