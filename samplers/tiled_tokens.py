"""Which tokens a tile of a video stream holds, and where it thinks they are (spec pipelines.md 14.2)."""

# B batch, T tokens (N grid tokens, then M appended ones), K tokens of a tile (n of the grid, then appended ones)
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .state import StreamState, VideoLayout
from .tiling import Tile


@dataclass(frozen=True, kw_only=True, eq=False)
class TileTokens:
    """The tokens of one tile.

    index    (K,) int64, rising: its tokens among all of the stream
    grid     n: how many of them are grid tokens
    weights  (K,) float32: the share of this tile in each token's prediction; of all tiles together 1
    """

    index: Tensor
    grid: int
    weights: Tensor

    def to(self, device: torch.device) -> TileTokens:
        return replace(self, index=self.index.to(device), weights=self.weights.to(device))


def tile_tokens(positions: Tensor, tiles: Sequence[Tile]) -> list[TileTokens]:
    """The tokens of every tile of a stream with these `positions` (1 or B, 3, T, 2); grid tokens come first.

    An appended token goes to every tile whose box it touches on all axes; one before time 0 goes to all. One that
    touches no tile (beyond the clip) is in none.
    """
    positions = positions.cpu()
    of_grid = [tile.tokens() for tile in tiles]
    appended = positions[:, :, tiles[0].grid.tokens :]
    touches = torch.stack([_touches(appended, positions[:, :, index]) for index in of_grid])  # tiles M
    shares = 1.0 / touches.sum(0).clamp(min=1)
    return [
        TileTokens(
            index=torch.cat([index, tile.grid.tokens + kept.nonzero()[:, 0]]),
            grid=len(index),
            weights=torch.cat([tile.weights().flatten(), shares[kept]]),
        )
        for tile, index, kept in zip(tiles, of_grid, touches, strict=True)
    ]


def tile_state(state: StreamState, tile: Tile, tokens: TileTokens) -> StreamState:
    """The stream as the network sees it in a tile: positions begin at 0 on every axis, time included."""
    assert isinstance(state.layout, VideoLayout)
    index = tokens.index
    return replace(
        state,
        latent=state.latent[:, index],
        clean=state.clean[:, index],
        mask=state.mask[:, index],
        positions=tile_positions(state.positions, tokens),
        layout=replace(state.layout, grid=tile.size),
        attention=None if state.attention is None else state.attention.select(index),
        keyframe_marks=None if state.keyframe_marks is None else state.keyframe_marks[:, index],
        slots=None,
    )


def tile_positions(positions: Tensor, tokens: TileTokens) -> Tensor:
    """Positions (1 or B, 3, K, 2) of a tile's tokens, moved so that its grid tokens begin at 0."""
    own = positions[:, :, tokens.index]
    return own - own[:, :, : tokens.grid, 0].amin(dim=-1)[..., None, None]


def _touches(appended: Tensor, grid: Tensor) -> Tensor:
    """(M,) bool: whether an appended token overlaps the box around grid tokens, in any sample."""
    low, high = grid[..., 0].amin(dim=-1, keepdim=True), grid[..., 1].amax(dim=-1, keepdim=True)  # B 3 1
    inside = ((appended[..., 1] > low) & (appended[..., 0] < high)).all(dim=1)  # B M
    return (inside | (appended[:, 0, :, 0] < 0)).any(dim=0)
