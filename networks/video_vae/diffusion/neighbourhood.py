"""Neighbourhood attention in three dimensions, by blocks of queries (spec page video_vae, section 9.3).

Query `i` of an axis of length L sees the K keys from clamp(i - K//2, 0, L - K) on. A block of queries is attended
to the union of its windows under a mask of the block's own size; blocks that lie alike share the mask. Time and
memory grow linearly with the number of queries. Exact.
"""

# B batch, T frames, H height, W width, N heads, D head width, n blocks, Q queries and S keys of a block
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil, prod
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from ...attention import attention

UNION = 16  # keys that a block sees along height and width, where its kernel allows
FRAMES_A_BLOCK = 4
SMALLEST_BLOCK = 4
GATHERED_ELEMENTS = 2**25  # keys (and as many values) that are copied out for one call of the attention function


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of a volume, and which part of its queries and keys a call holds."""

    length: int
    kernel: int
    first_query: int = 0
    queries: int
    first_key: int = 0

    @staticmethod
    def whole(length: int, kernel: int) -> Axis:
        return Axis(length=length, kernel=kernel, queries=length)

    def window(self, query: int) -> int:
        """The first key that `query` sees; both counted from the start of the axis."""
        return min(max(query - self.kernel // 2, 0), self.length - self.kernel)


@dataclass(frozen=True)
class BlockKind:
    """Blocks of one axis whose windows lie alike."""

    size: int  # queries a block
    span: int  # keys of the union of their windows
    offsets: tuple[int, ...]  # first key of each query, counted from the block's first key
    kernel: int

    def mask(self) -> Tensor:
        """(size, span) bool: which query sees which key."""
        distance = torch.arange(self.span)[None] - torch.tensor(self.offsets)[:, None]
        return (distance >= 0) & (distance < self.kernel)


def neighbourhood_attention(q: Tensor, k: Tensor, v: Tensor, axes: Sequence[Axis]) -> Tensor:
    """softmax(q k^T) v over each query's window, scale 1.

    q (B, T, H, W, N, D) holds the queries of `axes` (frames, height, width); k, v (B, T', H', W', N, D) the keys from
    `first_key` on, at least all that the queries see. Returns the shape and dtype of q.
    Raises ValueError for an axis shorter than its kernel.
    """
    for axis in axes:
        if axis.length < axis.kernel:
            raise ValueError(
                f"neighbourhood attention: expected at least {axis.kernel} cells on every axis, found {axis.length}; "
                "use a larger size or larger tiles"
            )
    out = torch.empty_like(q, memory_format=torch.contiguous_format)  # the blocks below cover every query
    flat_out, flat_q, flat_k, flat_v = (rearrange(x, "b t h w n d -> b (t h w) n d") for x in (out, q, k, v))
    sizes = [FRAMES_A_BLOCK, *(max(SMALLEST_BLOCK, UNION + 1 - axis.kernel) for axis in axes[1:])]
    alike = [_blocks(axis, size).items() for axis, size in zip(axes, sizes, strict=True)]
    for combination in product(*alike):
        kinds, blocks = [kind for kind, _ in combination], [block for _, block in combination]
        bias = _bias(kinds, q)
        queries = _cells([range(kind.size) for kind in kinds], q)  # Q
        keys = _cells([range(kind.span) for kind in kinds], k)  # S
        first_queries = _cells([[block.query for block in axis] for axis in blocks], q)  # n
        first_keys = _cells([[block.key for block in axis] for axis in blocks], k)
        count = max(1, GATHERED_ELEMENTS // (keys.numel() * prod(k.shape[4:])))
        for of_queries, of_keys in zip(torch.split(first_queries, count), torch.split(first_keys, count), strict=True):
            at, seen = of_queries[:, None] + queries, of_keys[:, None] + keys  # n Q, n S
            flat_out[:, at] = _attend(flat_q[:, at], flat_k[:, seen], flat_v[:, seen], bias)
    return out


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    """q (B, n, Q, N, D); k, v (B, n, S, N, D) → (B, n, Q, N, D)."""
    batch = q.shape[0]
    q, k, v = (rearrange(x, "b n s h d -> (b n) h s d") for x in (q, k, v))
    return rearrange(attention(q, k, v, bias=bias, scale=1.0), "(b n) h s d -> b n s h d", b=batch)


class Block(NamedTuple):
    """Where a block starts in the tensors at hand."""

    query: int
    key: int


def _blocks(axis: Axis, size: int) -> dict[BlockKind, list[Block]]:
    """Blocks of equal size, at most `size`, that cover the queries of an axis; the last may overlap the one before."""
    size = ceil(axis.queries / ceil(axis.queries / size))
    found: dict[BlockKind, list[Block]] = {}
    for start in range(0, axis.queries, size):
        start = min(start, axis.queries - size)
        windows = [axis.window(axis.first_query + start + i) for i in range(size)]
        offsets = tuple(window - windows[0] for window in windows)
        kind = BlockKind(size, offsets[-1] + axis.kernel, offsets, axis.kernel)
        found.setdefault(kind, []).append(Block(start, windows[0] - axis.first_key))
    return found


def _bias(kinds: Sequence[BlockKind], like: Tensor) -> Tensor:
    """(Q, S): 0 where a query sees a key, minus infinity elsewhere."""
    frames, height, width = (kind.mask().to(like.device) for kind in kinds)
    seen = frames[:, None, None, :, None, None] & height[None, :, None, None, :, None] & width[:, None, None]
    bias = torch.zeros(seen.shape, dtype=like.dtype, device=like.device).masked_fill_(~seen, float("-inf"))
    return rearrange(bias, "t h w u i j -> (t h w) (u i j)")


def _cells(axes: Sequence[Sequence[int]], x: Tensor) -> Tensor:
    """Indices of the grid points of three axes in the flattened T H W grid of x; int64, so that they never wrap."""
    _, height, width = x.shape[1:4]
    frames, rows, columns = (torch.tensor(axis, dtype=torch.int64, device=x.device) for axis in axes)
    return ((frames[:, None, None] * height + rows[:, None]) * width + columns).flatten()
