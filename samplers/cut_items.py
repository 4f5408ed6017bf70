"""Items of a whole clip as those of a part: of a segment of a long clip, or of a tile that is a run of its own."""

# f h w latent frames, rows, columns of an item
from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from einops import rearrange
from torch import Tensor

from .conditioning import ConditioningItem, GivenStream, InpaintMask, Keyframe, LatentReplacement, ReferenceVideo
from .shapes import VideoGrid
from .state import VideoLayout
from .tiling import Interval, Tile


def cut_video_items(
    items: Iterable[ConditioningItem], tile: Tile, layout: VideoLayout, *, shared: int = 0
) -> list[ConditioningItem]:
    """The items, in order, as far as they lie in `tile`, which reads its first latent frame as a single picture.

    layout: of the whole clip; shared: latent frames at its start that belong to the part before, so that pictures
    there are left to it. ValueError, with the item's kind, for one that cannot be cut.
    """
    return [cut for item in items for cut in _cut(item, tile, layout, shared)]


def whole_tile(grid: VideoGrid, frames: tuple[int, int]) -> Tile:
    """The tile of these latent frames [first, end), over the whole height and width."""
    height, width = Interval(start=0, end=grid.height), Interval(start=0, end=grid.width)
    return Tile(grid=grid, frames=Interval(start=frames[0], end=frames[1]), height=height, width=width)


def uncuttable(item: ConditioningItem) -> ValueError:
    return ValueError(
        f"parts of a clip: expected images, references, masks, given streams or reference voices, found "
        f"{type(item).__name__}; it cannot be cut: remove it, or sample in one piece"
    )


def _cut(item: ConditioningItem, tile: Tile, layout: VideoLayout, shared: int) -> Iterator[ConditioningItem]:
    if isinstance(item, Keyframe):
        yield from _keyframe(item, tile, layout, shared)
    elif isinstance(item, LatentReplacement):
        yield from _replacement(item, tile, shared)
    elif isinstance(item, GivenStream):
        yield GivenStream(latent=tile.cut(item.latent))
    elif isinstance(item, InpaintMask):
        yield replace(item, source=tile.cut(item.source), keep=tile.cut(item.keep))
    elif isinstance(item, ReferenceVideo) and item.factors.time == 1:
        yield from _reference(item, tile)
    else:
        raise uncuttable(item)


def _keyframe(item: Keyframe, tile: Tile, layout: VideoLayout, shared: int) -> Iterator[Keyframe]:
    step = layout.scale.time
    origin, bound = tile.frames.start * step, item.frames(layout)
    first, last = (shared - 1) * step + 1 if shared else 0, (len(tile.frames) - 1) * step
    if not first <= bound[0] - origin <= last:
        return
    if bound[-1] - origin > last:
        raise ValueError(
            f"parts of a clip: a clip at frames {bound[0]} to {bound[-1]} crosses the end of a part at frame "
            f"{origin + last}; move it, or make it shorter"
        )
    latent = _space(item.latent, tile, 1)
    attention = _attention(item.attention, VideoGrid(*item.latent.shape[2:]), tile, 1, slice(None))
    yield replace(item, latent=latent, frame=item.frame - origin, attention=attention)


def _replacement(item: LatentReplacement, tile: Tile, shared: int) -> Iterator[LatentReplacement]:
    start, end = tile.frames.start, tile.frames.end
    first, last = max(item.latent_frame, start + shared), min(item.latent_frame + item.latent.shape[2], end)
    if first < last:
        piece = item.latent[:, :, first - item.latent_frame : last - item.latent_frame]
        yield replace(item, latent=_space(piece, tile, 1), latent_frame=first - start)


def _reference(item: ReferenceVideo, tile: Tile) -> Iterator[ReferenceVideo]:
    if tile.frames.start >= item.latent.shape[2]:
        return
    ratio, grid = item.factors.space, VideoGrid(*item.latent.shape[2:])
    latent = _space(item.latent[:, :, tile.frames.cells], tile, ratio)
    yield replace(item, latent=latent, attention=_attention(item.attention, grid, tile, ratio, tile.frames.cells))


def _space(cells: Tensor, tile: Tile, ratio: int) -> Tensor:
    """The rows and columns of a tile of (…, h, w), which is `ratio` times smaller than the clip's grid."""
    rows, columns = tile.height, tile.width
    return cells[..., rows.start // ratio : rows.end // ratio, columns.start // ratio : columns.end // ratio]


def _attention(weights: float | Tensor, grid: VideoGrid, tile: Tile, ratio: int, frames: slice) -> float | Tensor:
    """Weights of an item's tokens, (f*h*w) or (B, f*h*w), cut like the item."""
    if not isinstance(weights, Tensor):
        return weights
    cells = rearrange(weights, "... (f h w) -> ... f h w", f=grid.frames, h=grid.height)
    return rearrange(_space(cells[..., frames, :, :], tile, ratio), "... f h w -> ... (f h w)")
