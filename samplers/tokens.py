"""Latents as tokens, and where tokens lie: (de)patchify, positions, first-frame marks.

Source: spec page sampling, sections 1.3 and 1.4; page transformer, sections 3.1 and 6.1.
Everything here is made on the CPU and moved by the caller: a GPU divides by a number as a product with its
reciprocal, which misses the reference by the last bit, and the fastest rotary frequencies magnify that.
"""

# b batch, c channels, f h w latent frames rows columns, t audio latent frames, n tokens, p patch size
from __future__ import annotations

import torch
from einops import rearrange, repeat
from torch import Tensor

from .shapes import AUDIO_RATE, SCALE, AudioRate, ScaleFactors, VideoGrid


def patchify_video(latent: Tensor, *, patch: int = 1) -> Tensor:
    """(b, c, f, h, w) -> tokens (b, f*h*w, c), frame slowest, column fastest; `patch` > 1 packs p x p cells."""
    _check_axes("video latent", latent, 5)
    if latent.shape[3] % patch or latent.shape[4] % patch:
        raise ValueError(f"video latent: expected height and width in multiples of {patch}, found {_shape(latent)}")
    return rearrange(latent, "b c f (h p) (w q) -> b (f h w) (c p q)", p=patch, q=patch)


def unpatchify_video(tokens: Tensor, grid: VideoGrid, *, patch: int = 1) -> Tensor:
    """The inverse of `patchify_video`; `grid` is the latent's size in cells."""
    _check_axes("video tokens", tokens, 3)
    frames, height, width = grid.frames, grid.height // patch, grid.width // patch
    if tokens.shape[1] != frames * height * width:
        raise ValueError(
            f"video tokens: expected {frames * height * width} for the grid {tuple(grid)}, found {tokens.shape[1]}; "
            "drop appended tokens first"
        )
    return rearrange(tokens, "b (f h w) (c p q) -> b c f (h p) (w q)", f=frames, h=height, w=width, p=patch, q=patch)


def patchify_audio(latent: Tensor) -> Tensor:
    """(b, c, t, mel bins) -> tokens (b, t, c*bins), channel slowest."""
    _check_axes("audio latent", latent, 4)
    return rearrange(latent, "b c t bins -> b t (c bins)")


def unpatchify_audio(tokens: Tensor, *, channels: int = 8) -> Tensor:
    """The inverse of `patchify_audio`."""
    _check_axes("audio tokens", tokens, 3)
    if tokens.shape[2] % channels:
        raise ValueError(f"audio tokens: expected features in multiples of {channels}, found {tokens.shape[2]}")
    return rearrange(tokens, "b t (c bins) -> b c t bins", c=channels)


def video_pixel_bounds(grid: VideoGrid, *, scale: ScaleFactors = SCALE, causal: bool = True) -> Tensor:
    """[start, end) of every cell in frames, rows and columns of pixels: int64 (1, 3, n, 2).

    causal: the first latent frame stands for one pixel frame, so times move back by 7 and stop at 0.
    """
    cells = torch.stack(torch.meshgrid(*(torch.arange(size) for size in grid), indexing="ij"))
    starts = rearrange(cells, "bound f h w -> bound (f h w)")
    bounds = torch.stack((starts, starts + 1), dim=-1)
    bounds = bounds * torch.tensor((scale.time, scale.space, scale.space))[:, None, None]
    if causal:
        bounds[0] = (bounds[0] + 1 - scale.time).clamp(min=0)
    return bounds[None]


def video_positions(
    grid: VideoGrid, fps: float, *, batch: int = 1, scale: ScaleFactors = SCALE, causal: bool = True
) -> Tensor:
    """Positions (batch, 3, n, 2) float32: seconds, pixels, pixels; last axis [start, end)."""
    return in_seconds(video_pixel_bounds(grid, scale=scale, causal=causal), fps).expand(batch, -1, -1, -1)


def in_seconds(pixel_bounds: Tensor, fps: float) -> Tensor:
    """Pixel bounds (b, 3, n, 2) as float32 positions: the time axis divided by `fps`."""
    if not 0 < fps < float("inf"):
        raise ValueError(f"fps: expected a positive number, found {fps}")
    positions = pixel_bounds.to("cpu", torch.float32, copy=True)
    positions[:, 0] /= torch.tensor(fps, dtype=torch.float32)
    return positions


def audio_positions(
    tokens: int, *, batch: int = 1, shift: int = 0, rate: AudioRate = AUDIO_RATE, causal: bool = True
) -> Tensor:
    """Positions (batch, 1, tokens, 2) float32 in seconds; `shift` is added to the latent index and may be negative."""
    mel = torch.arange(shift, shift + tokens + 1, dtype=torch.float32) * rate.factor
    if causal:
        mel = (mel + 1 - rate.factor).clamp(min=0)
    seconds = mel * rate.hop / rate.sample_rate
    return repeat(torch.stack((seconds[:-1], seconds[1:]), dim=-1), "n bound -> b 1 n bound", b=batch)


def first_frame_marks(grid: VideoGrid, *, batch: int = 1) -> Tensor:
    """Keyframe marks (batch, n, 1) float32: 1 on the tokens of latent frame 0, always (LTX-2.5 reads them)."""
    marks = torch.zeros(batch, grid.tokens, 1)
    marks[:, : grid.height * grid.width] = 1
    return marks


def _check_axes(what: str, tensor: Tensor, axes: int) -> None:
    if tensor.ndim != axes:
        raise ValueError(f"{what}: expected {axes} axes, found shape {_shape(tensor)}")


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)
