"""8-bit integers with one scale a tensor or a row, optionally rotated along the inputs (quantization.md section 4)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

import torch
from einops import rearrange
from torch import Tensor

from .layer import SCALE, WEIGHT, QuantisedLayer

# Symmetric, and 2 times orthogonal.
HADAMARD_4 = ((1, 1, 1, -1), (1, 1, -1, 1), (1, -1, 1, 1), (-1, 1, 1, 1))


def dequantise_int8(tensors: Mapping[str, Tensor], layer: QuantisedLayer, dtype: torch.dtype) -> Tensor:
    """weight · scale, turned back where the layer is rotated. weight (N, K) int8; scale float32, () or (N, 1).

    Rotation is always computed in float32: each value becomes a sum of many, and small sums would drown in rounding.
    """
    weight, scale = tensors[WEIGHT], tensors[SCALE]
    if scale.numel() != 1 and tuple(scale.shape) != (weight.shape[0], 1):
        raise ValueError(
            f"{layer.name}: expected one scale or one a row ({weight.shape[0]}, 1), found shape {tuple(scale.shape)}"
        )
    scale = scale if scale.ndim == 2 else scale.reshape(())
    if layer.rotation is None:
        return weight.to(dtype) * scale.to(dtype)
    return rotate_groups(weight.float() * scale, layer.rotation, name=layer.name).to(dtype)


def rotate_groups(x: Tensor, size: int, *, name: str) -> Tensor:
    """Every `size` neighbours on the last axis times the Hadamard rotation; doing it twice changes nothing.

    x (…, K). Raises ValueError with `name` when `size` is no power of 4 or does not divide K.
    """
    if x.shape[-1] % size:
        raise ValueError(f"{name}: expected a rotation in groups that divide {x.shape[-1]} inputs, found {size}")
    rotation = hadamard(size, name=name).to(x)
    groups = rearrange(x, "... (g s) -> ... g s", s=size)
    return rearrange(groups @ rotation, "... g s -> ... (g s)")


def hadamard(size: int, *, name: str) -> Tensor:
    """The symmetric orthogonal matrix (size, size), float32: Kronecker powers of HADAMARD_4 over sqrt(size)."""
    matrix = _hadamard(size)
    if len(matrix) != size or size == 1:
        raise ValueError(f"{name}: expected a rotation in groups of 4, 16, 64, 256 …, found {size}")
    return matrix


@lru_cache(maxsize=8)
def _hadamard(size: int) -> Tensor:
    """The first one that is not smaller."""
    base = torch.tensor(HADAMARD_4, dtype=torch.float32)
    matrix = torch.ones(1, 1)
    while len(matrix) < size:
        matrix = torch.kron(matrix, base)
    return matrix / math.sqrt(len(matrix))
