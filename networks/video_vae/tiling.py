"""Tile plans and blend masks of the convolutional video VAE: arithmetic on integers (spec page video_vae, section 7).

An axis is planned on the latent grid, then mapped to pixels (height, width) or frames. Axes are independent of each
other; the tiles are their Cartesian product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

import torch
from torch import Tensor

COMPLEMENTARY_TOLERANCE = 1e-5
SMALLEST_WEIGHT = 1e-8
DEFAULT_TILE, DEFAULT_OVERLAP = 768, 64  # pixels
DEFAULT_FRAMES, DEFAULT_FRAME_OVERLAP = 80, 24
AUTO_CELLS, AUTO_LEAST_CELLS = 24, 3  # latent cells of a tile: along the long side; at least
PIXELS_A_CELL = 32
ENCODE_OVERLAP_FLOORS = (16, 64, 64)  # frames, pixels, pixels
AXES = ("frames", "height", "width")


@dataclass(frozen=True, kw_only=True)
class BySize:
    """Tiles of `tile_size` that share `overlap`, both in pixels or frames; tile_size 0: not tiled."""

    tile_size: int
    overlap: int


@dataclass(frozen=True, kw_only=True)
class ByCount:
    """`num_tiles` tiles that share `overlap` latent cells; num_tiles 1: not tiled."""

    num_tiles: int
    overlap: int


AxisTiling = BySize | ByCount


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """How each axis is cut; None: not at all."""

    frames: AxisTiling | None = None
    height: AxisTiling | None = None
    width: AxisTiling | None = None

    @property
    def axes(self) -> tuple[AxisTiling | None, AxisTiling | None, AxisTiling | None]:
        return self.frames, self.height, self.width


class Interval(NamedTuple):
    """[start, end) of a tile on one axis, and the widths of the ramps at its ends."""

    start: int
    end: int
    left: int
    right: int


class AxisTile(NamedTuple):
    """One tile on one axis: what is read, what is written, and the weight of each written element (float32)."""

    source: Interval
    target: Interval
    mask: Tensor


AxisPlan = list[AxisTile]

DEFAULT_TILING = Tiling(
    frames=BySize(tile_size=DEFAULT_FRAMES, overlap=DEFAULT_FRAME_OVERLAP),
    height=BySize(tile_size=DEFAULT_TILE, overlap=DEFAULT_OVERLAP),
    width=BySize(tile_size=DEFAULT_TILE, overlap=DEFAULT_OVERLAP),
)


def automatic_tiling(height: int, width: int) -> Tiling:
    """Tiles of 768 pixels along the long side and in proportion along the short one (section 7.5). Sizes in pixels."""
    longest = max(height, width) // PIXELS_A_CELL
    if longest < 1:
        raise ValueError(f"tiling: expected a side of at least {PIXELS_A_CELL} pixels, found {height}x{width}")

    def axis(pixels: int) -> BySize:
        cells = max(AUTO_LEAST_CELLS, round(AUTO_CELLS * (pixels // PIXELS_A_CELL) / longest))
        return BySize(tile_size=PIXELS_A_CELL * cells, overlap=DEFAULT_OVERLAP)

    return Tiling(frames=DEFAULT_TILING.frames, height=axis(height), width=axis(width))


def announced_chunks(frames: int, axis: AxisTiling | None) -> int:
    """How many chunks the published decoder announces for a clip of `frames` frames (section 7.5)."""
    if isinstance(axis, ByCount):
        return axis.num_tiles
    if axis is None or axis.tile_size == 0:
        return 1
    return max(1, ceil((frames - 1) / (axis.tile_size - axis.overlap)))


# --- intervals on the latent axis (section 7.2) ----------------------------------------------------------------------


def intervals_by_size(length: int, size: int, overlap: int) -> list[Interval]:
    """Tiles of `size` cells; the last one may be shorter, but is longer than `overlap`."""
    if length <= size:
        return [Interval(0, length, 0, 0)]
    step = size - overlap
    count = ceil((length - overlap) / step)
    return _ramped([(i * step, min(i * step + size, length)) for i in range(count)], overlap)


def intervals_by_count(length: int, count: int, overlap: int) -> list[Interval]:
    """`count` tiles whose sizes differ by one cell at most, the larger ones first. ValueError where they do not fit."""
    size, longer = divmod(length + overlap * (count - 1), count)
    if count > length or size <= overlap:
        raise ValueError(
            f"tiling: expected tiles longer than their overlap, found {count} tiles with an overlap of {overlap} on "
            f"{length} latent cells; use fewer tiles or less overlap"
        )
    starts = [i * (size - overlap) + min(i, longer) for i in range(count)]
    return _ramped([(start, start + size + (i < longer)) for i, start in enumerate(starts)], overlap)


def latent_intervals(length: int, axis: AxisTiling | None, factor: int, *, name: str) -> list[Interval]:
    """Section 7.2 for one axis of `length` latent cells of `factor` pixels (frames); name: one of AXES.

    Raises ValueError for sizes that are no multiples of `factor` or too small, and overlaps that are too large.
    """
    intervals = _plain_intervals(length, axis, factor, name)
    if name != "frames":
        return intervals
    # a tile's first latent frame is decoded as a clip start, so one more is read and thrown away
    return intervals[:1] + [Interval(i.start - 1, i.end, i.left + 1, i.right) for i in intervals[1:]]


def _plain_intervals(length: int, axis: AxisTiling | None, factor: int, name: str) -> list[Interval]:
    if axis is None or (isinstance(axis, BySize) and axis.tile_size == 0):
        return [Interval(0, length, 0, 0)]
    if isinstance(axis, ByCount):
        if axis.num_tiles < 1 or axis.overlap < 0:
            raise ValueError(f"tiling of {name}: expected at least 1 tile and an overlap of at least 0, found {axis}")
        return intervals_by_count(length, axis.num_tiles, axis.overlap)
    refuse_size(axis, factor, 2 * factor, name)
    overlap = axis.overlap // factor
    return intervals_by_size(length, max(2, overlap + 1, axis.tile_size // factor), overlap)


def refuse_size(axis: BySize, unit: int, least: int, name: str) -> None:
    """ValueError unless tile_size and overlap are multiples of `unit`, tile_size >= least, 0 <= overlap < tile_size."""
    fits = axis.tile_size % unit == 0 and axis.overlap % unit == 0
    if not fits or axis.tile_size < least or not 0 <= axis.overlap < axis.tile_size:
        raise ValueError(
            f"tiling of {name}: expected a tile size of at least {least} and a smaller overlap, both multiples of "
            f"{unit}, found {axis.tile_size} and {axis.overlap}"
        )


def _ramped(spans: Sequence[tuple[int, int]], overlap: int) -> list[Interval]:
    last = len(spans) - 1
    return [
        Interval(start, end, overlap if i else 0, overlap if i < last else 0) for i, (start, end) in enumerate(spans)
    ]


# --- pixels and masks (section 7.3) ----------------------------------------------------------------------------------


def to_pixels(interval: Interval, factor: int) -> Interval:
    """Height and width: latent cells → pixels."""
    return Interval(*(factor * value for value in interval))


def to_frames(interval: Interval, factor: int) -> Interval:
    """Latent frames → frames; the first latent frame of a tile becomes one frame."""
    left = 1 + factor * (interval.left - 1) if interval.left else 0
    return Interval(factor * interval.start, 1 + factor * (interval.end - 1), left, factor * interval.right)


def ramp_mask(interval: Interval, *, from_zero: bool = False) -> Tensor:
    """Weights (end - start,) float32. from_zero: the left ramp starts at weight 0, as on the frame axis."""
    length = interval.end - interval.start
    left, right = min(interval.left, length), min(interval.right, length)
    mask = torch.ones(length, dtype=torch.float64)
    if left:
        steps = torch.arange(left, dtype=torch.float64)
        mask[:left] *= steps / left if from_zero else (steps + 1) / (left + 1)
    if right:
        mask[length - right :] *= 1 - torch.arange(1, right + 1, dtype=torch.float64) / (right + 1)
    return mask.float()


def decode_plan(length: int, axis: AxisTiling | None, factor: int, *, name: str) -> AxisPlan:
    """Tiles of a decode along one axis: sources in latent cells, targets and masks in pixels or frames."""
    frames = name == "frames"
    plan = []
    for source in latent_intervals(length, axis, factor, name=name):
        target = (to_frames if frames else to_pixels)(source, factor)
        plan.append(AxisTile(source, target, ramp_mask(target, from_zero=frames)))
    return plan


def encode_plan(length: int, axis: AxisTiling | None, factor: int, *, name: str) -> AxisPlan:
    """Tiles of an encode: sources in pixels or frames, targets and masks in latent cells (section 7.6).

    Raises ValueError for overlaps below 16 frames or 64 pixels on a tiled axis, and as `latent_intervals`.
    """
    _refuse_encode_overlap(axis, factor, name)
    frames = name == "frames"
    return [
        AxisTile((to_frames if frames else to_pixels)(target, factor), target, ramp_mask(target, from_zero=frames))
        for target in latent_intervals(length, axis, factor, name=name)
    ]


def _refuse_encode_overlap(axis: AxisTiling | None, factor: int, name: str) -> None:
    if axis is None or (axis.tile_size == 0 if isinstance(axis, BySize) else axis.num_tiles == 1):
        return
    floor = ENCODE_OVERLAP_FLOORS[AXES.index(name)]
    overlap = axis.overlap if isinstance(axis, BySize) else factor * axis.overlap
    if overlap < floor:
        raise ValueError(f"tiling of {name}: expected an overlap of at least {floor} for encoding, found {overlap}")


# --- sums of masks (section 7.4) -------------------------------------------------------------------------------------


def mask_sum(plan: AxisPlan) -> Tensor:
    """Total weight (length of the target axis,) float32."""
    total = torch.zeros(max(tile.target.end for tile in plan))
    for tile in plan:
        total[tile.target.start : tile.target.end] += tile.mask
    return total


def is_complementary(plan: AxisPlan) -> bool:
    """Whether the weights sum to 1 everywhere."""
    return bool((mask_sum(plan) - 1).abs().max() <= COMPLEMENTARY_TOLERANCE)


def normalized(plan: AxisPlan) -> AxisPlan:
    """The plan with masks that sum to 1: unchanged if they do already, else divided by their sum.

    The sum of products over a Cartesian product of tiles is the product of the sums, so each axis is divided alone
    and no buffer of weights is needed.
    """
    if is_complementary(plan):
        return plan
    total = mask_sum(plan).clamp_min(SMALLEST_WEIGHT)
    return [tile._replace(mask=tile.mask / total[tile.target.start : tile.target.end]) for tile in plan]


def chunk_lengths(frames: AxisPlan) -> list[int]:
    """Frames that become final with each temporal group of tiles; the first may be 0."""
    starts = [tile.target.start for tile in frames]
    ends = [*starts[1:], max(tile.target.end for tile in frames)]
    return [end - start for start, end in zip(starts, ends, strict=True)]
