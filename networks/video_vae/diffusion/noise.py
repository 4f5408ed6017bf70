"""Noise of the diffusion decoder, tile by tile (spec page video_vae, section 9.4)."""

# B batch, T frames, H height, W width
from __future__ import annotations

import torch
from torch import Tensor

from ..blending import Tile
from ..decoder import DecoderNoise


class Canvas:
    """Where tiles get their noise: a given tensor, one draw of the whole clip, or one draw a tile."""

    def __init__(
        self, shape: tuple[int, ...], source: DecoderNoise | Tensor, *, like: Tensor, draw_tiles: bool
    ) -> None:
        """shape: of the whole clip; like: gives the device, and the dtype that the noise is rounded to.

        Raises ValueError for a tensor of another shape.
        """
        if isinstance(source, Tensor) and tuple(source.shape) != shape:
            raise ValueError(f"noise: expected a tensor of shape {shape}, found {tuple(source.shape)}")
        self._shape, self._like, self._draw_tiles = shape, like, draw_tiles
        self._source = source

    def of(self, tile: Tile) -> Tensor:
        """(B, 3, t, h, w) float32: the caller's own, to write to."""
        if isinstance(self._source, DecoderNoise) and self._draw_tiles:
            sizes = (axis.target.end - axis.target.start for axis in tile)
            return self._rounded(self._source.draw((*self._shape[:2], *sizes)))
        frames, rows, columns = (slice(axis.target.start, axis.target.end) for axis in tile)
        return self._rounded(self._whole()[:, :, frames, rows, columns])

    def _whole(self) -> Tensor:
        if isinstance(self._source, DecoderNoise):
            self._source = self._source.draw(self._shape)
        return self._source

    def _rounded(self, noise: Tensor) -> Tensor:
        return noise.to(self._like).to(torch.float32, copy=True)
