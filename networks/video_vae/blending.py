"""Weighted sum of tiles, given out as soon as no later tile touches a frame (spec page video_vae, section 7.4)."""

# B batch, C channels, T frames of a group of tiles, H height, W width, t h w a tile's or a piece's own sizes
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from .tiling import AxisPlan, AxisTile, normalized


class Tile(NamedTuple):
    """One tile of the Cartesian product."""

    frames: AxisTile
    height: AxisTile
    width: AxisTile

    def source_of(self, x: Tensor) -> Tensor:
        """The part (a view) of x (B, C, F, H, W) that the tile reads."""
        frames, height, width = (slice(axis.source.start, axis.source.end) for axis in self)
        return x[:, :, frames, height, width]


TileRun = Callable[[Tile], Iterable[Tensor]]  # a tile → its (B, C, t, h, w), as consecutive pieces along the frames


def blend(plans: tuple[AxisPlan, AxisPlan, AxisPlan], run: TileRun) -> Iterator[Tensor]:
    """Run all tiles, frames slowest, and yield the blended clip as parts (B, C, T, H, W), T >= 1.

    plans: frames, height, width. Sums are float32 whatever the dtype of the pieces; one group of tiles in time is
    held at once. The pieces of a single tile are passed on as they are.
    """
    if all(len(plan) == 1 for plan in plans):
        yield from run(Tile(*(plan[0] for plan in plans)))
        return
    frames, height, width = (normalized(plan) for plan in plans)
    size = height[-1].target.end, width[-1].target.end
    held: Tensor | None = None
    for index, group in enumerate(frames):
        tiles = (Tile(group, *axes) for axes in product(height, width))
        held = _add_group(held, tiles, run, size)
        following = frames[index + 1].target.start if index + 1 < len(frames) else group.target.end
        final = following - group.target.start
        if final:
            yield held[:, :, :final]
            held = held[:, :, final:].clone()  # a view would hold what has been given out


def _add_group(held: Tensor | None, tiles: Iterable[Tile], run: TileRun, size: tuple[int, int]) -> Tensor:
    """`held`: what earlier groups left; it starts at this group's first frame."""
    buffer: Tensor | None = None
    for tile in tiles:
        start = 0
        for piece in run(tile):
            if buffer is None:
                buffer = _buffer(held, piece, tile.frames, size)
            _add(buffer, piece, tile, start)
            start += piece.shape[2]
            del piece  # not needed while the next one is made
        assert start == tile.frames.mask.numel(), f"a tile gave {start} frames instead of {tile.frames.mask.numel()}"
    assert buffer is not None, "a group has at least one tile"
    return buffer


def _buffer(held: Tensor | None, piece: Tensor, frames: AxisTile, size: tuple[int, int]) -> Tensor:
    shape = *piece.shape[:2], frames.mask.numel(), *size
    buffer = torch.zeros(shape, dtype=torch.float32, device=piece.device)
    if held is not None:
        buffer[:, :, : held.shape[2]] = held
    return buffer


def _add(buffer: Tensor, piece: Tensor, tile: Tile, start: int) -> None:
    stop = start + piece.shape[2]
    rows, columns = (slice(axis.target.start, axis.target.end) for axis in (tile.height, tile.width))
    plane = torch.outer(tile.height.mask, tile.width.mask).to(buffer.device)
    weights = tile.frames.mask[start:stop, None, None].to(buffer.device) * plane  # t h w
    buffer[:, :, start:stop, rows, columns].addcmul_(piece.float(), weights)
