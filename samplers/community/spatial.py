"""Tiles in height and width, each a whole sampling run, blended at the end (spec pipelines.md sections 16 and 17)."""

# B batch, C channels, F H W latent frames, rows, columns; a tile has h x w cells
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from ..conditioning import ConditioningItem, Keyframe, LatentGuide

SampleSpatialTile = Callable[[Tensor, tuple[ConditioningItem, ...]], Tensor]
"""One run: a tile's start latent (B, C, F, h, w) and its items -> its finished latent."""
SIMILARITY = 0.15  # strength of a tile's own frames as guides
EPSILON = 1e-8  # added to the sum of weights, which is 0 where two hard cuts meet


@dataclass(frozen=True, kw_only=True)
class SpatialPlan:
    """`rows` x `columns` tiles that share `overlap` cells.

    The ramps have 0 and 1 at their ends: an overlap of 1 or 2 is a hard cut, real blending starts at 3.
    """

    rows: int = 1
    columns: int = 1
    overlap: int = 1

    def tiles(self, height: int, width: int) -> list[tuple[slice, slice]]:
        """Rows and columns of each tile of a latent, row by row; the last ones reach to the edge."""
        vertical, horizontal = self._cut(height, self.rows), self._cut(width, self.columns)
        return [(rows, columns) for rows in vertical for columns in horizontal]

    def _cut(self, length: int, count: int) -> list[slice]:
        size = (length + (count - 1) * self.overlap) // count
        if count > 1 and size <= self.overlap:
            raise ValueError(
                f"tiles: expected tiles longer than their overlap of {self.overlap}, found {count} tiles of {size} on "
                f"{length} cells; use fewer tiles or a smaller overlap"
            )
        starts = [index * (size - self.overlap) for index in range(count)]
        return [slice(start, length if start == starts[-1] else start + size) for start in starts]


def spatial_weights(height: int, width: int, row: int, column: int, plan: SpatialPlan) -> Tensor:
    """Weights (1, 1, 1, h, w) of the tile at `row`, `column` of a plan, which has `height` x `width` cells."""
    vertical = _axis_weights(height, row, plan.rows, plan.overlap)
    horizontal = _axis_weights(width, column, plan.columns, plan.overlap)
    return rearrange(vertical[:, None] * horizontal, "h w -> 1 1 1 h w")


def blend_spatial(parts: Sequence[Tensor], plan: SpatialPlan, height: int, width: int) -> Tensor:
    """The tiles' latents (B, C, F, h, w), row by row, as one (B, C, F, H, W): Σ w x / (Σ w + 1e-8)."""
    total = parts[0].new_zeros(*parts[0].shape[:3], height, width)
    weight = parts[0].new_zeros(1, 1, 1, height, width)
    for index, ((rows, columns), part) in enumerate(zip(plan.tiles(height, width), parts, strict=True)):
        row, column = divmod(index, plan.columns)
        own = spatial_weights(part.shape[3], part.shape[4], row, column, plan).to(part)
        total[..., rows, columns] += part * own
        weight[..., rows, columns] += own
    return total / (weight + EPSILON)


def sample_spatial_tiles(
    latent: Tensor,
    plan: SpatialPlan,
    sample: SampleSpatialTile,
    *,
    images: Mapping[int, Tensor] | None = None,
    image_strength: float = 1.0,
    similarity: bool = False,
) -> Tensor:
    """A latent (B, C, F, H, W) from one whole run a tile, blended at the end.

    Every run should draw its noise from the same seed. images: encoded pictures (1, C, 1, H, W) by pixel frame, cut to
    the tile and added as guides; similarity: beside them, a tile's own middle and last start frames hold it, weakly.
    """
    parts = []
    for rows, columns in plan.tiles(*latent.shape[3:]):
        tile = latent[..., rows, columns]
        items: list[ConditioningItem] = [
            Keyframe(latent=image[..., rows, columns], frame=frame, strength=image_strength)
            for frame, image in sorted((images or {}).items())
        ]
        if images and similarity:
            last = tile.shape[2] - 1
            items += [
                LatentGuide(latent=tile[:, :, frame : frame + 1], latent_index=frame, strength=SIMILARITY)
                for frame in sorted({tile.shape[2] // 2, last})
            ]
        parts.append(sample(tile, tuple(items)))
    return blend_spatial(parts, plan, *latent.shape[3:])


def _axis_weights(length: int, index: int, count: int, overlap: int) -> Tensor:
    weights = torch.ones(length)
    if index > 0:
        weights[:overlap] *= torch.linspace(0, 1, overlap)
    if index < count - 1:
        weights[length - overlap :] *= torch.linspace(1, 0, overlap)
    return weights
