"""Long video by overlapping temporal tiles, as ComfyUI's users know it; video only (spec pipelines.md section 16)."""

# B batch, C channels, F H W latent frames, rows, columns of the clip, f frames of a tile, o frames of overlap
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from torch import Tensor

from ..community.spatial import SpatialPlan, blend_spatial
from ..conditioning import ConditioningItem, Keyframe, LatentGuide, LatentReplacement
from ..shapes import SCALE, pixel_frames
from .joining import cross_fade
from .statistics import transfer_statistics


@dataclass(frozen=True, kw_only=True, eq=False)
class Loop:
    """What a looping run is made of; lengths in pixel frames, multiples of 8.

    overlap_strength   of the last tile's end as a guide; guide_strength, image_strength: of `guides`, `images`
    statistics         factor of the transfer towards the first tile (or `reference`, per frame)
    images             encoded pictures (1, C, 1, H, W) by pixel frame; a negative one counts from the end
    guides             control latents (1, C, F, h, w) beside the clip, of an IC-LoRA
    context            latents (1, C, c, H, W) that every tile sees right before its start
    reference          latents (1, C, F, H, W) whose statistics each frame takes on
    guide_steps        steps [first, end) of the schedule that see `guides`; end None: to the last. Each part of the
                       schedule is a run of its own, so that a divided run differs from a whole one
    seed_offsets       added to a tile's seed; the last one is repeated
    """

    tile: int = 80
    overlap: int = 24
    overlap_strength: float = 0.5
    guide_strength: float = 1.0
    image_strength: float = 1.0
    statistics: float = 0.0
    spatial: SpatialPlan = SpatialPlan()
    images: Mapping[int, Tensor] = field(default_factory=dict)
    guides: Tensor | None = None
    context: Tensor | None = None
    reference: Tensor | None = None
    guide_steps: tuple[int, int | None] = (0, None)
    seed: int = 0
    seed_offsets: Sequence[int] = (0,)

    def __post_init__(self) -> None:
        if self.tile % SCALE.time or self.overlap % SCALE.time or not 0 < self.overlap < self.tile:
            raise ValueError(
                f"looping: expected tile and overlap in multiples of {SCALE.time} frames, 0 < overlap < tile, found "
                f"{self.tile} and {self.overlap}"
            )

    @property
    def latent_overlap(self) -> int:
        return self.overlap // SCALE.time

    def phases(self) -> Iterator[Phase]:
        """The parts of the schedule: before, with and after the guides; one part where there are none."""
        first, end = self.guide_steps
        if self.guides is None:
            first, end = 0, None
        if first > 0:
            yield Phase(0, first, False)
        yield Phase(first, end, True)
        if end is not None:
            yield Phase(end, None, False)

    def starts(self, frames: int) -> range:
        """First latent frames of the tiles of a clip of `frames` latent frames; always at least one tile."""
        last = max(frames - self.latent_overlap, 1)
        return range(0, last, self.tile // SCALE.time - self.latent_overlap)


@dataclass(frozen=True, kw_only=True, eq=False)
class LoopCall:
    """One sampling run: the `latent` (B, C, f, H, W) with these items in this order, and noise from `seed`.

    index: of the temporal tile, for a prompt of its own. steps: [first, end) of the schedule, end None: to its last;
    it begins at level·noise + (1 - level)·latent.
    """

    index: int
    start: int
    seed: int
    latent: Tensor
    items: tuple[ConditioningItem, ...]
    steps: tuple[int, int | None] = (0, None)


class Phase(NamedTuple):
    """Steps [first, end) of the schedule, and whether they see the guides."""

    first: int
    end: int | None
    guided: bool


class TileFrame(NamedTuple):
    """Where an image of the whole clip goes: the tile, and the pixel frame in it."""

    tile: int
    frame: int


SampleTile = Callable[[LoopCall], Tensor]
"""One run: its predicted clean latent (B, C, f, H, W), without guides."""


def sample_looping(latent: Tensor, loop: Loop, sample: SampleTile) -> Tensor:
    """The whole clip (B, C, F, H, W) from its start `latent` (zeros for a fresh one), tile after tile.

    Spatial tiles, if any, are the outer loop. Their images and guides are cut from the latents. Raises ValueError for
    settings that do not fit the clip.
    """
    height, width = latent.shape[3:]
    parts = []
    for index, (rows, columns) in enumerate(loop.spatial.tiles(height, width)):
        row, column = divmod(index, loop.spatial.columns)
        own = _cut(loop, rows, columns, height)
        parts.append(_sample_column(latent[..., rows, columns], own, sample, row=row, column=column))
    return parts[0] if len(parts) == 1 else blend_spatial(parts, loop.spatial, height, width)


def tile_seed(first: int, start: int, *, rows: int, columns: int, row: int, column: int, offset: int = 0) -> int:
    """The seed of the tile that begins at latent frame `start`, at `row`, `column` of the spatial tiles."""
    return first + start * rows * columns + row * columns + column + offset


def tile_of_image(frame: int, loop: Loop, frames: int) -> TileFrame | None:
    """The tile of an image at pixel `frame` (negative: from the end) of a clip of `frames`; None beyond the end."""
    if frame < 0:
        frame += frames
    if not 0 <= frame < frames:
        return None
    if frame < loop.tile - 7:
        return TileFrame(0, frame)
    step, tile = loop.tile - loop.overlap, 1
    while frame > loop.tile + tile * step - 8:
        tile += 1
    local = frame - tile * step
    if local >= loop.overlap:
        return TileFrame(tile, local)
    return TileFrame(tile - 1, frame - (tile - 1) * step)


def _cut(loop: Loop, rows: slice, columns: slice, height: int) -> Loop:
    """The loop of one spatial tile: everything that has a place is cut to it."""

    def cut(latent: Tensor | None) -> Tensor | None:
        if latent is None:
            return None
        ratio = height // latent.shape[3]
        return latent[..., _coarser(rows, ratio), _coarser(columns, ratio)]

    images = {frame: image[..., rows, columns] for frame, image in loop.images.items()}
    return replace(
        loop, images=images, guides=cut(loop.guides), context=cut(loop.context), reference=cut(loop.reference)
    )


def _coarser(cells: slice, ratio: int) -> slice:
    return slice(cells.start // ratio, cells.stop // ratio)


def _sample_column(latent: Tensor, loop: Loop, sample: SampleTile, *, row: int, column: int) -> Tensor:
    """All temporal tiles of one spatial tile."""
    frames, length = latent.shape[2], loop.tile // SCALE.time
    first = result = None
    for index, start in enumerate(loop.starts(frames)):
        part = latent[:, :, start : start + length]
        seed = _seed(loop, index, start, row, column)
        made = part
        for phase in loop.phases():
            items = tuple(_items(loop, index, start, part.shape[2], frames, result, guided=phase.guided))
            steps = (phase.first, phase.end)
            made = sample(LoopCall(index=index, start=start, seed=seed, latent=made, items=items, steps=steps))
        if first is None or result is None:
            first = result = made
            continue
        made = _steadied(made, first, start, loop)
        # Its first latent frame was read as a single picture, though it stands for eight: it is not used.
        result = cross_fade(result, made[:, :, 1:], loop.latent_overlap - 1)
    assert result is not None
    return result


def _seed(loop: Loop, index: int, start: int, row: int, column: int) -> int:
    offset = loop.seed_offsets[min(index, len(loop.seed_offsets) - 1)]
    rows, columns = loop.spatial.rows, loop.spatial.columns
    return tile_seed(loop.seed, start, rows=rows, columns=columns, row=row, column=column, offset=offset)


def _steadied(made: Tensor, first: Tensor, start: int, loop: Loop) -> Tensor:
    if loop.reference is None:
        return transfer_statistics(made, first, loop.statistics)
    own = loop.reference[:, :, start : start + made.shape[2]]
    return transfer_statistics(made, own, loop.statistics, per_frame=True)


def _items(
    loop: Loop, index: int, start: int, length: int, frames: int, result: Tensor | None, *, guided: bool
) -> Iterator[ConditioningItem]:
    """What a tile is given, in order: the end of the last one, guides of the first one, images, guides, context."""
    images = _images(loop, index, frames)
    guides = None if loop.guides is None or not guided else loop.guides[:, :, start : start + length]
    if result is not None:
        yield LatentGuide(latent=result[:, :, -loop.latent_overlap :], latent_index=0, strength=loop.overlap_strength)
    elif guides is not None:
        first = 1 if 0 in images else 0
        yield LatentGuide(latent=guides[:, :, first:], latent_index=first, strength=loop.guide_strength)
    for frame, image in images.items():
        if frame == 0 and result is None and loop.guides is None:
            yield LatentReplacement(latent=image, strength=loop.image_strength)
        else:
            yield Keyframe(latent=image, frame=frame, strength=loop.image_strength)
    overlap = loop.latent_overlap
    if result is not None and guides is not None and guides.shape[2] > overlap:
        yield LatentGuide(latent=guides[:, :, overlap:], latent_index=overlap, strength=loop.guide_strength)
    if loop.context is not None:
        yield LatentGuide(latent=loop.context, latent_index=-loop.context.shape[2])


def _images(loop: Loop, index: int, frames: int) -> dict[int, Tensor]:
    """The images of a tile by their frame in it, in order."""
    found = {}
    for frame, image in loop.images.items():
        if loop.guides is not None and frame % SCALE.time == 1:
            raise ValueError(
                f"looping: image at frame {frame}: beside guides, expected no frame of 1, 9, 17, …; move it by one"
            )
        place = tile_of_image(frame, loop, pixel_frames(frames))
        if place is not None and _within(place, loop).tile == index:
            found[_within(place, loop).frame] = image
    return dict(sorted(found.items()))


def _within(place: TileFrame, loop: Loop) -> TileFrame:
    """The node pack leaves some frames of an overlap to the tile before, beyond its end: here the next one has them."""
    if place.frame < pixel_frames(loop.tile // SCALE.time):
        return place
    return TileFrame(place.tile + 1, place.frame - (loop.tile - loop.overlap))
