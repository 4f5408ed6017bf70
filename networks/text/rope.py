"""Rotary position tables of the text decoders and of the connectors; both rotate the two halves of a head."""

# B batch, H heads, T tokens, d head width
from __future__ import annotations

import math
from functools import lru_cache

import torch
from einops import rearrange
from torch import Tensor


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (x_i, x_{i + d/2}). x (B, H, T, d); cos, sin broadcastable to (B, H, T, d/2)."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def decoder_tables(
    positions: Tensor, head_dim: int, *, theta: float, factor: float = 1.0, rotated_pairs: int | None = None
) -> tuple[Tensor, Tensor]:
    """cos and sin (T, d/2), float32, of positions (T,).

    Frequencies theta^(-2j/d) / factor (text.md section 3.2); 0 from j = rotated_pairs on (section 4).
    """
    exponents = torch.arange(0, head_dim, 2, dtype=torch.float32, device=positions.device) / head_dim
    frequencies = 1.0 / theta**exponents / factor
    if rotated_pairs is not None:
        frequencies[rotated_pairs:] = 0
    angles = torch.outer(positions.float(), frequencies)  # T d/2
    return angles.cos(), angles.sin()


@lru_cache(maxsize=8)
def connector_tables(width: int, num_heads: int, length: int, *, max_position: int) -> tuple[Tensor, Tensor]:
    """cos and sin (H, T, d/2), float32 on the CPU, of the rope type "split" (text.md section 6).

    One ladder of width/2 frequencies, 10000^0 … 10000^1 times pi/2, is dealt out to the heads one after the other;
    positions are scaled from 0 … max_position to -1 … 1.
    """
    with torch.inference_mode(False):  # the cached tables also serve training
        steps = torch.linspace(0, 1, width // 2, dtype=torch.float64, device="cpu")
        frequencies = (10_000.0**steps * (math.pi / 2)).float()
        positions = torch.arange(length, dtype=torch.float32, device="cpu") * 2 / max_position - 1
        angles = rearrange(torch.outer(positions, frequencies), "t (h d) -> h t d", h=num_heads)
        return angles.cos(), angles.sin()
