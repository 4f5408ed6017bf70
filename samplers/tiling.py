"""How a video latent is cut into overlapping tiles, and how tiles are blended (spec pipelines.md 14.1).

All numbers are latent cells. Unlike the tiles of the VAE, these have no causal shift on the time axis.
"""

# F H W latent frames, rows, columns; N = F*H*W grid tokens; n tokens of a tile; B batch, C channels
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import isqrt

import torch
from einops import rearrange
from torch import Tensor

from .shapes import VideoGrid


@dataclass(frozen=True, kw_only=True)
class Interval:
    """Cells [start, end) of an axis; `left` and `right` are how many of them a neighbour holds too."""

    start: int
    end: int
    left: int = 0
    right: int = 0

    def __len__(self) -> int:
        return self.end - self.start

    @property
    def cells(self) -> slice:
        return slice(self.start, self.end)

    def weights(self) -> Tensor:
        """(cells,) float32: 1, with a ramp at each inner side; those of two neighbours sum to 1."""
        weights = torch.ones(len(self))
        if self.left:
            weights[: self.left] *= _ramp(self.left)
        if self.right:
            weights[-self.right :] *= _ramp(self.right).flip(0)
        return weights


@dataclass(frozen=True, kw_only=True)
class AxisTiles:
    """Into how many tiles an axis is cut, and how many cells two neighbours share."""

    count: int = 1
    overlap: int = 0


@dataclass(frozen=True, kw_only=True)
class TilePlan:
    """The cuts of the three axes of a video latent. The default is one tile: the whole."""

    frames: AxisTiles = AxisTiles()
    height: AxisTiles = AxisTiles()
    width: AxisTiles = AxisTiles()

    def tiles(self, grid: VideoGrid) -> list[Tile]:
        """All tiles of `grid`, frames slowest, width fastest.

        ValueError as `split_axis`, and where three tiles would meet in a cell: their ramps do not sum to 1.
        """
        axes = zip(("frames", "height", "width"), grid, (self.frames, self.height, self.width), strict=True)
        intervals = [_blending(length, cut, name) for name, length, cut in axes]
        return [Tile(grid=grid, frames=f, height=h, width=w) for f, h, w in product(*intervals)]


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A box of cells of `grid`."""

    grid: VideoGrid
    frames: Interval
    height: Interval
    width: Interval

    @property
    def size(self) -> VideoGrid:
        """Its own size in cells."""
        return VideoGrid(len(self.frames), len(self.height), len(self.width))

    def tokens(self) -> Tensor:
        """Indices (n,) int64 of its tokens among those of the grid, rising."""
        index = rearrange(torch.arange(self.grid.tokens), "(f h w) -> f h w", f=self.grid.frames, h=self.grid.height)
        return self.cut(index).flatten()

    def weights(self) -> Tensor:
        """(F, H, W) of the tile, float32: the weights of all tiles that hold a cell sum to 1."""
        f, h, w = (interval.weights() for interval in (self.frames, self.height, self.width))
        return rearrange(f, "f -> f 1 1") * rearrange(h, "h -> h 1") * w

    def cut(self, latent: Tensor) -> Tensor:
        """Its part of a latent (…, F, H, W)."""
        return latent[..., self.frames.cells, self.height.cells, self.width.cells]


def split_axis(length: int, count: int, overlap: int, *, axis: str = "axis") -> list[Interval]:
    """`count` tiles of `length` cells, equally long but for one cell, with `overlap` shared by neighbours.

    Raises ValueError where a tile would be no longer than its overlap.
    """
    if count < 1 or overlap < 0:
        raise ValueError(f"tiles: {axis}: expected at least 1 tile and an overlap from 0, found {count} and {overlap}")
    if count == 1:
        return [Interval(start=0, end=length)]
    size, longer = divmod(length + overlap * (count - 1), count)
    if size <= overlap:
        raise ValueError(
            f"tiles: {axis}: expected tiles longer than their overlap of {overlap}, found {count} tiles of {size} on "
            f"{length} cells; use fewer tiles or a smaller overlap"
        )
    intervals = []
    for index in range(count):
        start = index * (size - overlap) + min(index, longer)
        sides = {"left": overlap if index else 0, "right": overlap if index < count - 1 else 0}
        intervals.append(Interval(start=start, end=start + size + (index < longer), **sides))
    return intervals


def balanced(count: int) -> tuple[int, int]:
    """`count` tiles as (rows, columns): the largest divisor up to its root, and the rest. ValueError below 1."""
    if count < 1:
        raise ValueError(f"tiles: expected at least 1, found {count}")
    rows = next(rows for rows in range(isqrt(count), 0, -1) if count % rows == 0)
    return rows, count // rows


def affordable_plan(grid: VideoGrid, max_tokens: int, *, overlap: int = 5) -> TilePlan:
    """The fewest tiles of at most `max_tokens` tokens, cut in height and width only: a model call sees whole clips.

    Raises ValueError where even the smallest tiles are larger.
    """
    for count in range(1, grid.height * grid.width + 1):
        plan = _spatial_plan(grid, count, overlap)
        if plan is not None and max(tile.size.tokens for tile in plan.tiles(grid)) <= max_tokens:
            return plan
    raise ValueError(
        f"tiles: expected room for {max_tokens} tokens in a tile with an overlap of {overlap}, found no such cut of "
        f"{tuple(grid)} cells; allow more tokens, a smaller overlap, or a shorter clip"
    )


def fitted_plan(plan: TilePlan, grid: VideoGrid) -> TilePlan:
    """`plan` as far as `grid` allows: overlaps of at most the cells less the tiles; an axis with fewer cells than
    tiles is not cut. For tiles that are runs of their own (spec pipelines.md section 12)."""

    def fitted(cut: AxisTiles, length: int) -> AxisTiles:
        if cut.count == 1 or length < cut.count:
            return AxisTiles()
        return AxisTiles(count=cut.count, overlap=min(cut.overlap, length - cut.count))

    return TilePlan(
        frames=fitted(plan.frames, grid.frames),
        height=fitted(plan.height, grid.height),
        width=fitted(plan.width, grid.width),
    )


def blend_tiles(tiles: Sequence[Tile], parts: Sequence[Tensor]) -> Tensor:
    """Latents (B, C, f, h, w) of all tiles of a plan, each from a run of its own, as one (B, C, F, H, W), float32."""
    grid = tiles[0].grid
    blended = parts[0].new_zeros(*parts[0].shape[:2], *grid, dtype=torch.float32)
    for tile, part in zip(tiles, parts, strict=True):
        tile.cut(blended).add_(part.float() * tile.weights().to(part.device))
    return blended


def _blending(length: int, cut: AxisTiles, axis: str) -> list[Interval]:
    intervals = split_axis(length, cut.count, cut.overlap, axis=axis)
    if not _blends(length, cut):
        raise ValueError(
            f"tiles: {axis}: expected inner tiles of at least twice their overlap of {cut.overlap}, found {cut.count} "
            f"tiles on {length} cells; use fewer tiles or a smaller overlap"
        )
    return intervals


def _blends(length: int, cut: AxisTiles) -> bool:
    """Whether the cut is possible and no cell lies in three tiles."""
    size = (length + cut.overlap * (cut.count - 1)) // cut.count
    return cut.count == 1 or size > cut.overlap and (cut.count == 2 or size >= 2 * cut.overlap)


def _ramp(overlap: int) -> Tensor:
    return torch.arange(1, overlap + 1) / (overlap + 1)


def _spatial_plan(grid: VideoGrid, count: int, overlap: int) -> TilePlan | None:
    """`count` tiles, more of them along the longer side; None where they are too small."""
    few, many = balanced(count)
    rows, columns = (few, many) if grid.width >= grid.height else (many, few)
    plan = TilePlan(
        height=AxisTiles(count=rows, overlap=overlap if rows > 1 else 0),
        width=AxisTiles(count=columns, overlap=overlap if columns > 1 else 0),
    )
    return plan if _blends(grid.height, plan.height) and _blends(grid.width, plan.width) else None
