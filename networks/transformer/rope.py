"""Rotary position tables and their application (spec page transformer, section 6).

Angles reach 15,708 rad. They are formed in float32 in exactly the order of the page: another order, or float64,
changes cosines by up to 1e-3, which is more than the model tolerates.
"""

# B batch, A position axes, T tokens, D table width, H heads, w = D / H, K frequencies
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from .config import RopeConfig


@dataclass(frozen=True, kw_only=True)
class RopeTable:
    """Cosines and sines: split (B, H, T, w/2), or interleaved (B, T, D). B may be 1 for a whole batch."""

    cos: Tensor
    sin: Tensor
    interleaved: bool

    def to(self, like: Tensor) -> RopeTable:
        return RopeTable(cos=self.cos.to(like), sin=self.sin.to(like), interleaved=self.interleaved)


@lru_cache(maxsize=32)
def frequency_grid(count: int, theta: float, *, float64: bool = True) -> Tensor:
    """`count` frequencies from pi/2 to theta*pi/2, evenly spaced in their logarithm: float32 (K) on the CPU."""
    dtype = torch.float64 if float64 else torch.float32
    with torch.inference_mode(False):  # a cached tensor must also serve a later training run
        # linspace, not k / (K - 1): with a float32 grid it is what the reference rounds to
        exponents = torch.linspace(0, 1, count, dtype=dtype, device="cpu")
        return (torch.pow(torch.tensor(theta, dtype=dtype, device="cpu"), exponents) * (math.pi / 2)).float()


def rope_table(
    positions: Tensor, *, width: int, heads: int, max_pos: Sequence[float], rope: RopeConfig, middle: bool = True
) -> RopeTable:
    """The float32 table for positions (B, A, T, 2) = [start, end); `middle`: of the interval, else its start."""
    axes = positions.shape[1]
    grid = frequency_grid(width // (2 * axes), rope.theta, float64=rope.float64_grid).to(positions.device)
    point = (positions[..., 0] + positions[..., 1]) / 2 if middle else positions[..., 0]  # B A T
    # By a tensor, not by a number: a GPU would multiply with the reciprocal of a number.
    limits = torch.tensor(tuple(max_pos), dtype=torch.float32, device=positions.device)
    fraction = rearrange(point, "B A T -> B T A") / limits
    angles = rearrange(grid[:, None] * (fraction[:, :, None, :] * 2 - 1), "B T K A -> B T (K A)")
    cos, sin = angles.cos(), angles.sin()
    if rope.interleaved:
        cos, sin = (table.repeat_interleave(2, dim=-1) for table in (cos, sin))
        cos, sin = _pad_front(cos, width, 1.0), _pad_front(sin, width, 0.0)
        return RopeTable(cos=cos, sin=sin, interleaved=True)
    cos, sin = _pad_front(cos, width // 2, 1.0), _pad_front(sin, width // 2, 0.0)
    cos, sin = (rearrange(table, "B T (H half) -> B H T half", H=heads) for table in (cos, sin))
    return RopeTable(cos=cos, sin=sin, interleaved=False)


def rotate(x: Tensor, table: RopeTable, *, heads: int, in_place: bool = False) -> Tensor:
    """x (B, T, D) rotated in its own dtype and cut into heads: (B, H, T, w). in_place: x may be overwritten."""
    if table.interleaved:
        return rearrange(_rotate_pairs(x, table.cos, table.sin), "B T (H w) -> B H T w", H=heads)
    x = rearrange(x, "B T (H w) -> B H T w", H=heads)
    first, second = x.chunk(2, dim=-1)
    if in_place:  # half a copy of x instead of two whole ones: queries and keys are rotated at the peak of a block
        former = first.clone()
        first.mul_(table.cos).addcmul_(second, table.sin, value=-1)
        second.mul_(table.cos).addcmul_(former, table.sin)
        return x
    turned = (
        torch.addcmul(first * table.cos, second, table.sin, value=-1),
        torch.addcmul(second * table.cos, first, table.sin),
    )
    return torch.cat(turned, dim=-1)


def _rotate_pairs(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    even, odd = rearrange(x, "B T (pair two) -> two B T pair", two=2)
    turned = rearrange([-odd, even], "two B T pair -> B T (pair two)")
    return torch.addcmul(x * cos, turned, sin)


def _pad_front(table: Tensor, width: int, value: float) -> Tensor:
    return F.pad(table, (width - table.shape[-1], 0), value=value)
