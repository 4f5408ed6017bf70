"""Weights → stored form, one pure function a format (quantization.md sections 2 to 6).

Every function takes a weight (N, K) of any float dtype, computes in float32, and returns the tensors of a layer by
the names of `layer.py`.
"""

# n rows, c blocks of a row
from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from . import mxfp8, nvfp4
from .blocks import scale_blocks, tile
from .int8 import rotate_groups
from .layer import SCALE, SCALE_2, WEIGHT

Quantise = Callable[[Tensor], dict[str, Tensor]]
E4M3_MAX, E2M1_MAX, INT8_MAX = 448.0, 6.0, 127
SMALLEST_SCALE = 1e-30


def to_e4m3(values: Tensor) -> Tensor:
    """Saturating cast: larger values would become NaN."""
    return values.clamp(-E4M3_MAX, E4M3_MAX).to(torch.float8_e4m3fn)


def quantise_fp8_cast(weight: Tensor) -> dict[str, Tensor]:
    """A plain cast without a scale."""
    return {WEIGHT: weight.to(torch.float8_e4m3fn)}


def quantise_fp8_scaled(weight: Tensor) -> dict[str, Tensor]:
    """The largest value becomes 448."""
    weight = weight.float()
    inverse = E4M3_MAX / weight.abs().amax().clamp(min=SMALLEST_SCALE)
    return {WEIGHT: to_e4m3(weight * inverse), SCALE: 1 / inverse}


def quantise_int8(weight: Tensor, *, by_row: bool = True, rotation: int | None = None) -> dict[str, Tensor]:
    """One scale a row, or one in all; rotation: in groups of so many inputs."""
    weight = weight.float() if rotation is None else rotate_groups(weight.float(), rotation, name="weight")
    largest = weight.abs().amax(dim=1, keepdim=True) if by_row else weight.abs().amax()
    scale = (largest / INT8_MAX).clamp(min=SMALLEST_SCALE)
    return {WEIGHT: (weight / scale).round().clamp(-128, 127).to(torch.int8), SCALE: scale}


def quantise_nvfp4(weight: Tensor, *, scale: Tensor | None = None) -> dict[str, Tensor]:
    """4-bit codes, two a byte; 8-bit scales of 16 values, tiled; one scale of all. Padded to multiples of 16."""
    weight = _padded(weight.float(), nvfp4.BLOCK)
    scale = global_scale(weight) if scale is None else scale
    scales = block_scales(weight, scale)
    high, low = rearrange(_e2m1_codes(weight, scales.float() * scale), "n (k two) -> two n k", two=2)
    return {WEIGHT: (high << 4) | low, SCALE: tile(scales), SCALE_2: scale}


def quantise_mxfp8(weight: Tensor) -> dict[str, Tensor]:
    """8-bit floats; powers of two for 32 values, tiled. Padded to multiples of 32."""
    weight = _padded(weight.float(), mxfp8.BLOCK)
    exponents = block_exponents(weight)
    values = to_e4m3(scale_blocks(weight, torch.exp2(mxfp8.EXPONENT_BIAS - exponents.float())))
    return {WEIGHT: values, SCALE: tile(exponents).view(torch.float8_e8m0fnu)}


def global_scale(values: Tensor) -> Tensor:
    """Of nvfp4: so that the largest block scale is 448."""
    return values.abs().amax() / (E4M3_MAX * E2M1_MAX)


def block_scales(values: Tensor, scale: Tensor) -> Tensor:
    """Of nvfp4: (n, k) → (n, k / 16), float8."""
    largest = rearrange(values.abs(), "n (c k) -> n c k", k=nvfp4.BLOCK).amax(dim=-1)
    return to_e4m3(largest / E2M1_MAX / scale.clamp(min=SMALLEST_SCALE))


def block_exponents(values: Tensor) -> Tensor:
    """Of mxfp8: (n, k) → (n, k / 32), biased exponents in uint8; 0 for a block of zeros."""
    largest = rearrange(values.abs(), "n (c k) -> n c k", k=mxfp8.BLOCK).amax(dim=-1)
    exponents = torch.ceil(torch.log2(largest / E4M3_MAX)) + mxfp8.EXPONENT_BIAS
    return torch.where(largest == 0, 0, exponents.clamp(0, 254)).to(torch.uint8)


def round_e2m1(values: Tensor, scales: Tensor) -> Tensor:
    """values (n, k) as nvfp4 keeps them: the nearest of its numbers times scales (n, k / 16)."""
    codes = _e2m1_codes(values, scales)
    table = torch.tensor(nvfp4.MAGNITUDES, device=values.device)
    return scale_blocks(table[(codes & 7).int()] * torch.where(codes > 7, -1.0, 1.0), scales)


def _e2m1_codes(values: Tensor, scales: Tensor) -> Tensor:
    """uint8 (n, k): the nearest number; of two that are equally near the one with an even code."""
    inverse = torch.where(scales == 0, 0.0, 1 / scales)
    wide = rearrange(values, "n (c k) -> n c k", c=scales.shape[1])
    scaled = rearrange(wide / torch.where(scales == 0, 1.0, scales)[..., None], "n c k -> n (c k)")
    scaled = scaled * (scale_blocks(torch.ones_like(values), inverse) != 0)
    magnitudes = torch.tensor(nvfp4.MAGNITUDES, device=values.device)
    middles = (magnitudes[1:] + magnitudes[:-1]) / 2
    codes = torch.bucketize(scaled.abs(), middles)  # a middle counts as the lower code
    codes = codes + (scaled.abs()[..., None] == middles[1::2]).any(dim=-1)
    return (codes + 8 * (scaled < 0)).to(torch.uint8)


def _padded(weight: Tensor, step: int) -> Tensor:
    rows, columns = weight.shape
    return F.pad(weight, (0, -columns % step, 0, -rows % step))
