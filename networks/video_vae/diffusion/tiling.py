"""Tile plans of the diffusion decoder, and the automatic choice (spec page video_vae, section 9.5).

Tiles are planned on the input grid of stage 4; everything before it runs once on the whole clip.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from math import ceil, floor, prod
from typing import NamedTuple

from ..tiling import (
    AXES,
    AxisPlan,
    AxisTile,
    AxisTiling,
    BySize,
    Interval,
    Tiling,
    intervals_by_size,
    ramp_mask,
    refuse_size,
)
from .config import DETERMINISTIC_STAGES, DiffusionDecoderConfig, Triple

OVERLAP_GRAINS = (8, 32, 32)  # frames, pixels, pixels: overlaps and automatic tile sizes grow in these steps
GIB = 2**30
BYTES = 2  # of an element of features and pixels: bfloat16
LAST = DETERMINISTIC_STAGES  # index of stage 5


def overlap_floors(config: DiffusionDecoderConfig) -> Triple:
    """Smallest overlaps (frames, pixels, pixels): what the blocks after the cut can see, rounded up to the grains."""
    frames, height, width = (
        grain * ceil(halo * unit / grain)
        for halo, unit, grain in zip(_halo_cells(config), config.unit, OVERLAP_GRAINS, strict=True)
    )
    return frames, height, width


def smallest_tile_cells(config: DiffusionDecoderConfig) -> Triple:
    """Cells of stage 4 that a tile needs for every window to fit."""
    stride = config.upsamplings[-1].stride
    frames, height, width = (
        max(kernel, ceil(last / step))
        for kernel, last, step in zip(config.kernels[LAST - 1], config.kernels[LAST], stride, strict=True)
    )
    return frames, height, width


def _halo_cells(config: DiffusionDecoderConfig) -> list[int]:
    stride = config.upsamplings[-1].stride
    return [
        max(
            config.depths[LAST - 1] * (config.kernels[LAST - 1][axis] // 2),
            ceil(config.depths[LAST] * (config.kernels[LAST][axis] // 2) / stride[axis]),
        )
        for axis in range(3)
    ]


def cell_intervals(length: int, tile: int, overlap: int, smallest: int) -> list[Interval]:
    """Tiles of `tile` cells; a last one below `smallest` starts earlier, with longer ramps. All in cells of stage 4."""
    found = intervals_by_size(length, tile, overlap)
    start, end, left, right = found[-1]
    if len(found) == 1 or end - start >= smallest:
        return found
    start = max(0, end - smallest)
    before = found[-2]
    left = before.end - start
    return [*found[:-2], before._replace(right=left), Interval(start, end, left, right)]


def to_output(cells: Interval, unit: int, *, frames: bool) -> Interval:
    """Cells of stage 4 → pixels or frames; a doubling of frames drops the first one of the clip."""
    dropped = unit - 1 if frames else 0
    start = unit * cells.start - (dropped if cells.start else 0)
    return Interval(start, unit * cells.end - dropped, unit * cells.left, unit * cells.right)


def diffusion_plan(length: int, axis: BySize | None, unit: int, smallest: int, *, frames: bool) -> AxisPlan:
    """One axis of `length` cells of `unit` pixels (frames); None: one tile."""
    tiles = [Interval(0, length, 0, 0)]
    if axis is not None and axis.tile_size:
        tiles = cell_intervals(length, axis.tile_size // unit, axis.overlap // unit, smallest)
    targets = [to_output(tile, unit, frames=frames) for tile in tiles]
    return [AxisTile(tile, target, ramp_mask(target)) for tile, target in zip(tiles, targets, strict=True)]


def diffusion_plans(
    config: DiffusionDecoderConfig, cells: Triple, tiling: Tiling
) -> tuple[AxisPlan, AxisPlan, AxisPlan]:
    """Frames, height, width; cells: the input grid of stage 4, without ghost frames.

    Raises ValueError for tiles by count, sizes that are no multiples of a cell, tiles that are too small, and
    overlaps below `overlap_floors`.
    """
    floors, smallest = overlap_floors(config), smallest_tile_cells(config)
    plans = [
        diffusion_plan(
            cells[i],
            _checked(tiling.axes[i], config.unit[i], smallest[i], floors[i], AXES[i]),
            config.unit[i],
            smallest[i],
            frames=i == 0,
        )
        for i in range(3)
    ]
    return plans[0], plans[1], plans[2]


def _checked(axis: AxisTiling | None, unit: int, smallest: int, overlap: int, name: str) -> BySize | None:
    if axis is None or (isinstance(axis, BySize) and axis.tile_size == 0):
        return None
    if not isinstance(axis, BySize):
        raise ValueError(f"tiling of {name}: the diffusion decoder takes tiles by size, found {axis}")
    refuse_size(axis, unit, unit * smallest, name)
    if axis.overlap < overlap:
        raise ValueError(
            f"tiling of {name}: expected an overlap of at least {overlap} for the diffusion decoder, found "
            f"{axis.overlap}"
        )
    return axis


# --- automatic choice ------------------------------------------------------------------------------------------------


class Candidate(NamedTuple):
    """A tile size on one axis, and how many such tiles the axis takes."""

    tile: int
    number: int


def automatic_diffusion_tiling(
    config: DiffusionDecoderConfig,
    size: Triple,
    *,
    free_bytes: int,
    weight_bytes: int,
    features: float = 5,
    reserve: int = GIB,
) -> Tiling:
    """The cheapest tiles that fit into free memory. size: frames, height and width of the clip.

    features, reserve: volumes of stage 5 alive at once, and bytes left free: (5, 1 GiB) for eager execution, which
    is what this package does; the published code takes (7, 2 GiB) and (11, 2 GiB) for its compiled modes.
    Raises ValueError, with the bytes that would do, where not even the smallest tile fits.
    """
    overlaps = overlap_floors(config)
    least = [unit * cells for unit, cells in zip(config.unit, smallest_tile_cells(config), strict=True)]
    frames, rows, columns = (_candidates(*axis) for axis in zip(size, overlaps, OVERLAP_GRAINS, least, strict=True))
    usable = free_bytes - max(weight_bytes, GIB) - reserve - _stage4_bytes(config, size)
    fitting = [tile for t in frames for tile in _fitting(config, t, rows, columns, usable, size, features)]
    if not fitting:
        missing = _tile_bytes(config, (frames[0].tile, rows[0].tile, columns[0].tile), size, features) - usable
        raise ValueError(
            f"diffusion decoder: expected at least {ceil(free_bytes + missing) + 1} bytes free for a clip of "
            f"{size[0]}x{size[1]}x{size[2]} (frames, height, width), found {free_bytes}; "
            "free memory, decode a shorter or smaller clip, or use the convolutional decoder"
        )
    tiles = min(fitting, key=_rank)
    chosen = [BySize(tile_size=c.tile, overlap=overlap) for c, overlap in zip(tiles, overlaps, strict=True)]
    return Tiling(frames=chosen[0], height=chosen[1], width=chosen[2])


def _candidates(length: int, overlap: int, grain: int, least: int) -> list[Candidate]:
    """From twice the overlap (a tile that is not all ramp) to the whole axis."""
    first = max(2 * overlap, grain * ceil(least / grain))
    last = max(first, grain * ceil(length / grain))
    return [Candidate(tile, _count(length, tile, overlap)) for tile in range(first, last + 1, grain)]


def _count(length: int, tile: int, overlap: int) -> int:
    return 1 if length <= tile else ceil((length - overlap) / (tile - overlap))


def _fitting(
    config: DiffusionDecoderConfig,
    frames: Candidate,
    rows: list[Candidate],
    columns: list[Candidate],
    usable: float,
    size: Triple,
    features: float,
) -> Iterator[tuple[Candidate, Candidate, Candidate]]:
    """For each number of rows the best number of columns that fits: nothing else can win, and long clips stay cheap."""
    left = usable - _output_bytes(config, frames.tile, size)
    if left <= 0:
        return
    patch = config.patch_size
    tokens = floor(left / _token_bytes(config, features))
    best_up_to = list(accumulate(columns, _cheaper))
    widths = [column.tile // patch for column in columns]
    for row in rows:
        fit = bisect_right(widths, tokens // (frames.tile * (row.tile // patch)))
        if fit:
            yield frames, row, best_up_to[fit - 1]


def _cheaper(a: Candidate, b: Candidate) -> Candidate:
    return min(a, b, key=lambda c: (c.tile * c.number, -c.tile))


def _rank(tiles: tuple[Candidate, Candidate, Candidate]) -> tuple[int, ...]:
    """Less computed twice first, then larger tiles, then fewer."""
    volume, count = prod(c.tile for c in tiles), prod(c.number for c in tiles)
    return count * volume, -volume, count, *(c.tile for c in tiles)


def _stage4_bytes(config: DiffusionDecoderConfig, size: Triple) -> int:
    cells = config.cells_of((size[0] - 1) // config.factors[0] + 1 + config.ghost_frames)
    rows, columns = (
        length // factor * stride
        for length, factor, stride in zip(
            size[1:], config.factors[1:], config.strides_before(LAST - 1)[1:], strict=True
        )
    )
    return cells * rows * columns * config.channels[LAST - 1] * BYTES


def _output_bytes(config: DiffusionDecoderConfig, tile_frames: int, size: Triple) -> int:
    """Two buffers of the frames of a tile, at full height and width."""
    return 2 * tile_frames * size[1] * size[2] * config.out_channels * BYTES


def _token_bytes(config: DiffusionDecoderConfig, features: float) -> float:
    return config.channels[LAST] * BYTES * features


def _tile_bytes(config: DiffusionDecoderConfig, tile: Triple, size: Triple, features: float) -> float:
    tokens = tile[0] * (tile[1] // config.patch_size) * (tile[2] // config.patch_size)
    return _output_bytes(config, tile[0], size) + tokens * _token_bytes(config, features)
