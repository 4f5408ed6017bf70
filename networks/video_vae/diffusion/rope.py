"""Rotary embedding over three axes: frames, height, width (spec page video_vae, section 9.3)."""

# B batch, T frames, H height, W width, N heads, D head width, d width of one axis
from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

BASE = 10000.0


def axis_widths(head_dim: int) -> tuple[int, int, int]:
    """Channels of a head that turn with frames, height and width: even numbers."""
    frames = head_dim // 4 // 2 * 2
    if (head_dim - frames) // 2 % 2:
        frames -= 2
    space = (head_dim - frames) // 2
    if frames < 0 or frames + 2 * space != head_dim or space % 2:
        raise ValueError(f"diffusion decoder: a head width of {head_dim} cannot be split over three axes")
    return frames, space, space


class AxisRotation(NamedTuple):
    """cos and sin (positions, d/2), float32."""

    cos: Tensor
    sin: Tensor

    def part(self, start: int, stop: int) -> AxisRotation:
        return AxisRotation(self.cos[start:stop], self.sin[start:stop])


Rotations = tuple[AxisRotation, AxisRotation, AxisRotation]


def rotations(
    starts: Sequence[int], sizes: Sequence[int], head_dim: int, device: torch.device | None = None
) -> Rotations:
    """Tables for positions starts .. starts + sizes - 1 on each axis; positions may be negative."""
    frames, height, width = (
        _axis_rotation(start, size, axis_width, device)
        for start, size, axis_width in zip(starts, sizes, axis_widths(head_dim), strict=True)
    )
    return frames, height, width


def rotate(x: Tensor, tables: Rotations) -> Tensor:
    """Turn the channel pairs (2m, 2m+1) of x (B, T, H, W, N, D); float32 inside, the dtype of x outside."""
    head_dim = x.shape[-1]
    parts = torch.split(x, list(axis_widths(head_dim)), dim=-1)
    turned = [_turn(part.float(), table, axis) for axis, (part, table) in enumerate(zip(parts, tables, strict=True))]
    return torch.cat(turned, dim=-1).to(x.dtype)


def _turn(x: Tensor, table: AxisRotation, axis: int) -> Tensor:
    shape = [1, 1, 1, 1, 1, table.cos.shape[1]]
    shape[1 + axis] = table.cos.shape[0]
    cos, sin = table.cos.view(shape), table.sin.view(shape)
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)


def _axis_rotation(start: int, size: int, width: int, device: torch.device | None) -> AxisRotation:
    positions = torch.arange(start, start + size, dtype=torch.float32, device="cpu")
    angles = torch.outer(positions, torch.tensor(_frequencies(width), dtype=torch.float32, device="cpu"))
    return AxisRotation(angles.cos().to(device), angles.sin().to(device))


@lru_cache
def _frequencies(width: int) -> tuple[float, ...]:
    return tuple(BASE ** (-2 * m / width) for m in range(width // 2))
