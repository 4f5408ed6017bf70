"""Scales of small blocks along the inputs, as GPUs want them: stored in tiles of 128 rows by 4 columns."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor


def untile(scales: Tensor, rows: int, columns: int, *, name: str) -> Tensor:
    """Block scales in reading order (rows, columns), without the padding of their tiles (quantization.md section 5).

    scales: any 8-bit dtype, shape (128 a, 4 b). Raises ValueError with `name` when they do not cover rows x columns.
    """
    expected = (-(-rows // 128) * 128, -(-columns // 4) * 4)
    if tuple(scales.shape) != expected:
        raise ValueError(f"{name}: expected block scales of shape {expected}, found {tuple(scales.shape)}")
    tiles = rearrange(
        scales.view(torch.uint8).flatten(),
        "(row_tile column_tile row quarter column) -> (row_tile quarter row) (column_tile column)",
        column_tile=expected[1] // 4,
        row=32,
        quarter=4,
        column=4,
    )
    return tiles[:rows, :columns].contiguous().view(scales.dtype)


def tile(scales: Tensor) -> Tensor:
    """The inverse of `untile`: (rows, columns) of any 8-bit dtype, padded with zeros to whole tiles."""
    rows, columns = scales.shape
    padded = torch.zeros(-(-rows // 128) * 128, -(-columns // 4) * 4, dtype=torch.uint8, device=scales.device)
    padded[:rows, :columns] = scales.view(torch.uint8)
    flat = rearrange(
        padded,
        "(row_tile quarter row) (column_tile column) -> (row_tile column_tile row quarter column)",
        row=32,
        quarter=4,
        column=4,
    )
    return flat.view(padded.shape).view(scales.dtype)


def scale_blocks(values: Tensor, scales: Tensor) -> Tensor:
    """values (N, K) times scales (N, K / block), each for a block of neighbours on the last axis."""
    blocks = rearrange(values, "n (c block) -> n c block", c=scales.shape[1])
    return rearrange(blocks * scales[..., None], "n c block -> n (c block)")
