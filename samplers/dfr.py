"""Where fidelity rendering (LTX-2.5) puts its keyframes and cuts its temporal tiles (spec pipelines.md section 13)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from .shapes import SCALE, ScaleFactors

SEGMENTS = (32, 24)  # pixel frames between keyframes; the first is taken where both need the same padding


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """A clip padded to whole segments.

    frames    pixel frames, 8k+1, at least as many as asked for
    segment   pixel frames between two slots
    slots     pixel frames of the generated keyframes: the last frame is one, frame 0 is none
    """

    frames: int
    segment: int
    slots: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class TemporalTile:
    """One tile of a temporal round; all frames are those of the whole clip.

    first_pixel, last_pixel   the window, both inside it
    first_latent, end_latent  the same in latent frames, [first, end)
    dropped                   latent frames at its start that the tile before it has made already
    anchors                   pixel frames that are given as keyframes
    slots                     pixel frames of the keyframes that it generates
    """

    first_pixel: int
    last_pixel: int
    first_latent: int
    end_latent: int
    dropped: int
    anchors: tuple[int, ...]
    slots: tuple[int, ...]


def dfr_canvas(frames: int) -> Canvas:
    """The canvas of a clip of `frames` pixel frames. ValueError below two frames."""
    if frames < 2:
        raise ValueError(f"frames: expected at least 2, found {frames}; a single picture has nothing to interpolate")
    segment = min(SEGMENTS, key=lambda length: -(frames - 1) % length)
    last = frames - 1 + -(frames - 1) % segment
    return Canvas(frames=last + 1, segment=segment, slots=tuple(range(segment, last + 1, segment)))


def dfr_tiles(
    keyframes: Sequence[int], tiles: int, *, lead: int = 1, scale: ScaleFactors = SCALE
) -> list[TemporalTile]:
    """The tiles of a round: `keyframes` are the pixel frames of all keyframes so far, the last frame included.

    tiles: how many at most (2^r in round r); lead: segments before its own that a later tile sees.
    Raises ValueError for keyframes that do not rise, or do not lie on latent frames.
    """
    boundaries = [0, *keyframes]
    if len(boundaries) < 2 or any(a >= b for a, b in pairwise(boundaries)) or any(k % scale.time for k in keyframes):
        raise ValueError(
            f"keyframes: expected rising multiples of {scale.time} above 0, found {list(keyframes)}; take the slots "
            "of the canvas, doubled in each round"
        )
    if tiles < 1 or lead < 0:
        raise ValueError(f"tiles: expected at least 1 with a lead from 0, found {tiles} and {lead}")
    return [_tile(boundaries, run, lead, scale) for run in _runs(len(keyframes), tiles)]


def dfr_stitch(tiles: Sequence[TemporalTile], latents: Sequence[Tensor]) -> Tensor:
    """The tiles' latents (B, C, f, H, W) as that of the whole clip, without what tiles repeat."""
    return torch.cat([latent[:, :, tile.dropped :] for tile, latent in zip(tiles, latents, strict=True)], dim=2)


def nearest_latent_frame(frame: int, latent_frames: int, *, scale: ScaleFactors = SCALE) -> int:
    """The latent frame that seeds a slot at pixel frame `frame`; ties go to the even one."""
    return min(max(round(frame / scale.time), 0), latent_frames - 1)


def _runs(segments: int, tiles: int) -> list[range]:
    """The segments in contiguous runs, larger ones first."""
    tiles = min(tiles, segments)
    size, longer = divmod(segments, tiles)
    starts = [index * size + min(index, longer) for index in range(tiles + 1)]
    return [range(a, b) for a, b in pairwise(starts)]


def _tile(boundaries: Sequence[int], run: range, lead: int, scale: ScaleFactors) -> TemporalTile:
    first = max(run.start - lead, 0)
    window = boundaries[first : run.stop + 1]
    overlap = (boundaries[run.start] - window[0]) // scale.time
    return TemporalTile(
        first_pixel=window[0],
        last_pixel=window[-1],
        first_latent=window[0] // scale.time,
        end_latent=window[-1] // scale.time + 1,
        dropped=overlap + (1 if run.start > 0 else 0),
        anchors=tuple(frame for frame in window if frame > 0),
        slots=tuple((a + b) // 2 for a, b in pairwise(window)),
    )
