"""A model call in tiles: any stage at sizes whose tokens do not fit into memory at once (spec pipelines.md 14.2).

Guidance and steps never learn of tiles: they see the blended velocities. Those blend as clean latents would: x0 is
x - t v, and the weights of a token sum to 1. The tiled network is another function than the whole one; only the
noise, which is drawn for the whole latent, does not depend on the plan.
"""

# B batch, T tokens, K tokens of a tile, C features
from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .denoiser import Predict
from .guidance import Pass
from .state import StreamState, VideoLayout
from .streams import Streams
from .tiled_tokens import TileTokens, tile_state, tile_tokens
from .tiling import Tile, TilePlan

MakePredict = Callable[[Streams[StreamState]], Predict]
"""The predictor for these states: of the whole stage, or of one tile of it."""


def tiled_predict(make: MakePredict, states: Streams[StreamState], plan: TilePlan) -> Predict:
    """The prediction for `states`, tile by tile; the audio is whole in each and the mean of all.

    Each tile's predictor is made for a call and dropped after it, so that the tables of one tile at a time take
    memory. A plan of one tile, or a stage without video, costs nothing. Raises ValueError for a plan that does not
    fit the video's grid.
    """
    if states.video is None:
        return make(states)
    assert isinstance(states.video.layout, VideoLayout), "tiles need a state from video_state"
    tiles = plan.tiles(states.video.layout.grid)
    if len(tiles) == 1:
        return make(states)
    device = states.video.latent.device
    tokens = [own.to(device) for own in tile_tokens(states.video.positions, tiles)]
    return _TiledPredict(make, states, tiles, tokens)


class _TiledPredict:
    def __init__(
        self, make: MakePredict, states: Streams[StreamState], tiles: Sequence[Tile], tokens: Sequence[TileTokens]
    ) -> None:
        self._make, self._states, self._tiles, self._tokens = make, states, tiles, tokens

    def __call__(
        self,
        passes: Sequence[Pass],
        latents: Streams[Tensor],
        timesteps: Streams[Tensor],
        sigmas: Streams[Tensor],
        /,
    ) -> list[Streams[Tensor]]:
        # A token that is in no tile keeps velocity 0: nothing predicts it, so it stays what it is.
        totals = [latents.map(lambda latent: torch.zeros_like(latent, dtype=torch.float32)) for _ in passes]
        for tile, tokens in zip(self._tiles, self._tokens, strict=True):
            predict = self._make(self._tile_states(tile, tokens))
            velocities = predict(passes, _selected(latents, tokens), _selected(timesteps, tokens), sigmas)
            for total, velocity in zip(totals, velocities, strict=True):
                self._add(total, velocity, tokens)
        return totals

    def _tile_states(self, tile: Tile, tokens: TileTokens) -> Streams[StreamState]:
        assert self._states.video is not None
        return Streams(video=tile_state(self._states.video, tile, tokens), audio=self._states.audio)

    def _add(self, total: Streams[Tensor], velocity: Streams[Tensor], tokens: TileTokens) -> None:
        assert total.video is not None
        assert velocity.video is not None
        total.video.index_add_(1, tokens.index, velocity.video.float() * tokens.weights[:, None])
        if total.audio is not None:
            assert velocity.audio is not None
            total.audio.add_(velocity.audio.float(), alpha=1 / len(self._tiles))


def _selected(values: Streams[Tensor], tokens: TileTokens) -> Streams[Tensor]:
    """The tile's part of values (B, T, …) of the streams; audio whole."""
    assert values.video is not None
    return Streams(video=values.video[:, tokens.index], audio=values.audio)
