"""Stored layers at the widths of the 2.3 transformer: which way does each format take on a GPU, is it right and fast?

    python benchmarks/gpu_products.py [--json]       one call does everything
    python benchmarks/gpu_products.py --toy          small, on the CPU: does the script run?

Every format is multiplied in the way that its trial allowed, and beside it with its weight dequantised in each call and
with a plain bfloat16 weight. error: relative rms against the product of the quantised input (where the way quantises
it) with the dequantised weight, in float32. Exit code 1 where a way that was trusted is off by more than the tolerance.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from openltx.model_loaders.operations import Recipe, StoredLinear
from openltx.model_loaders.operations.linear import EXACT
from openltx.model_loaders.quantisation.activations import quantised_input
from openltx.model_loaders.quantisation.formats import dequantise
from openltx.model_loaders.quantisation.layer import INPUT_SCALE, QuantisedLayer
from openltx.model_loaders.quantisation.quantise import (
    quantise_fp8_scaled,
    quantise_int8,
    quantise_mxfp8,
    quantise_nvfp4,
)

SIZES = ((4096, 4096), (16384, 4096), (4096, 16384))  # (outputs, inputs): attention, feed-forward
TOY_SIZES = ((256, 512),)
ROWS, TOY_ROWS = 14080, 32  # video tokens of 121 frames of 1280x704
RUNS, TOLERANCE = 10, 0.02
ROTATION = 256


def fp8_with_input_scale(weight: Tensor) -> dict[str, Tensor]:
    """As calibrated files have it: inputs here reach about 5."""
    return quantise_fp8_scaled(weight) | {INPUT_SCALE: torch.tensor(5 / 448)}


FORMATS: dict[str, tuple[str, int | None, Callable[[Tensor], dict[str, Tensor]]]] = {
    "fp8, calibrated": ("float8_e4m3fn", None, fp8_with_input_scale),
    "fp8": ("float8_e4m3fn", None, quantise_fp8_scaled),
    "int8": ("int8_tensorwise", None, quantise_int8),
    "int8, rotated": ("int8_tensorwise", ROTATION, lambda weight: quantise_int8(weight, rotation=ROTATION)),
    "nvfp4": ("nvfp4", None, quantise_nvfp4),
    "mxfp8": ("mxfp8", None, quantise_mxfp8),
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One format at one size; milliseconds are medians."""

    format: str
    size: tuple[int, int]
    way: str
    error: float
    milliseconds: float
    dequantised: float
    plain: float

    @property
    def right(self) -> bool:
        return self.error <= TOLERANCE  # False for NaN

    def __str__(self) -> str:
        size = f"{self.size[1]} -> {self.size[0]}"
        return (
            f"{self.format:<16} {size:<15} {self.way:<27} rms {self.error:.1e}{'' if self.right else ' WRONG'}"
            f"   {self.milliseconds:8.3f} ms, dequantised {self.dequantised:8.3f} ms, bfloat16 {self.plain:8.3f} ms"
        )


def stored(name: str, size: tuple[int, int], device: torch.device) -> StoredLinear:
    """A layer of this format with seeded random weights."""
    kind, rotation, quantise = FORMATS[name]
    outputs, inputs = size
    weight = torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(0)) * inputs**-0.5
    tensors = quantise(weight)
    layer = QuantisedLayer(name=name, format=kind, tensors={part: part for part in tensors}, rotation=rotation)
    module = StoredLinear(inputs, outputs, bias=False, device="meta").requires_grad_(False)
    recipe = Recipe(name=name, dequantise=lambda parts, dtype: dequantise(parts, layer).to(dtype), layer=layer)
    module.store({part: tensor.to(device) for part, tensor in tensors.items()}, recipe)
    return module


@torch.inference_mode()
def measure(name: str, size: tuple[int, int], rows: int, device: torch.device, runs: int) -> Row:
    module = stored(name, size, device)
    x = torch.randn(rows, size[1], generator=torch.Generator().manual_seed(1)).to(device, torch.bfloat16)
    way, plain = module.way(x), module.dense_weight(torch.bfloat16)
    return Row(
        format=name,
        size=size,
        way=way,
        error=_error(module, x, way),
        milliseconds=_milliseconds(lambda: module(x), device, runs),
        dequantised=_milliseconds(lambda: F.linear(x, module.dense_weight(x.dtype)), device, runs),
        plain=_milliseconds(lambda: F.linear(x, plain), device, runs),
    )


def _error(module: StoredLinear, x: Tensor, way: str) -> float:
    """On the first rows: float32 products of all of them would take as long as the rest."""
    few = x[:64]
    assert module.recipe is not None
    assert module.recipe.layer is not None
    inputs = few.float() if way == EXACT else quantised_input(few, module._tensors(), module.recipe.layer)
    expected = inputs.float() @ module.dense_weight(torch.float32).t()
    found = module(x)[: len(few)].float()
    return float((found - expected).square().mean().sqrt() / expected.square().mean().sqrt())


def _milliseconds(product: Callable[[], object], device: torch.device, runs: int) -> float:
    taken = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        product()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(1e3 * (time.perf_counter() - start))
    return statistics.median(taken[1:])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="small sizes; on the CPU where there is no GPU")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not (arguments.toy or torch.cuda.is_available()):
        raise SystemExit("gpu_products: expected a CUDA device, found none; use --toy to see that it runs")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sizes, rows, runs = (TOY_SIZES, TOY_ROWS, 2) if arguments.toy else (SIZES, ROWS, RUNS)
    found = [measure(name, size, rows, device, runs) for name in FORMATS for size in sizes]
    if arguments.json:
        print(json.dumps([asdict(row) for row in found]))
    else:
        print("\n".join(map(str, found)))
    return 0 if all(row.right for row in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
