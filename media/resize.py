"""Frames brought to a size, exactly by the rules of spec media_io.md 2.4: bilinear, no antialias, float32.

Sizes are computed in doubles just as written there: a product a hair above an integer adds a row, and moves the crop.
"""

# f frames, h w rows, columns, c colours
from __future__ import annotations

from math import ceil

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor


def fill_and_crop(frames: Tensor, height: int, width: int) -> Tensor:
    """Frames (f, h, w, c), any range, scaled until they cover `height` x `width`, the middle of it: float32."""
    found_height, found_width = frames.shape[1:3]
    scale = max(height / found_height, width / found_width)
    scaled = _bilinear(frames, ceil(found_height * scale), ceil(found_width * scale))
    top, left = (scaled.shape[1] - height) // 2, (scaled.shape[2] - width) // 2
    return scaled[:, top : top + height, left : left + width]


def fit_and_pad(frames: Tensor, height: int, width: int) -> Tensor:
    """Frames (f, h, w, c) scaled down until they fit into `height` x `width`, never up, and padded at bottom and right.

    float32; the padding mirrors the picture where that is larger than the padding, else repeats its edge.
    """
    frames = frames.float()
    found_height, found_width = frames.shape[1:3]
    if height < found_height or width < found_width:
        scale = min(height / found_height, width / found_width)
        frames = _bilinear(frames, max(round(found_height * scale), 1), max(round(found_width * scale), 1))
    bottom, right = height - frames.shape[1], width - frames.shape[2]
    mode = "reflect" if bottom < frames.shape[1] and right < frames.shape[2] else "replicate"
    padded = F.pad(rearrange(frames, "f h w c -> f c h w"), (0, right, 0, bottom), mode=mode)
    return rearrange(padded, "f c h w -> f h w c")


def to_long_side(frames: Tensor, long_side: int) -> Tensor:
    """Frames (f, h, w, c) scaled and cropped so that their longer side is `long_side`; float32, the same range."""
    height, width = frames.shape[1:3]
    scale = long_side / max(height, width)
    return fill_and_crop(frames, max(int(height * scale), 1), max(int(width * scale), 1))


def aligned_up(width: int, height: int, multiple: int) -> tuple[int, int]:
    """Width and height rounded up to a multiple: for `fit_and_pad`, whose result is cropped back after decoding."""
    return ceil(width / multiple) * multiple, ceil(height / multiple) * multiple


def aligned_down(width: int, height: int, multiple: int) -> tuple[int, int]:
    """Width and height rounded down to a multiple, for `fill_and_crop`; ValueError where nothing would remain."""
    if width < multiple or height < multiple:
        raise ValueError(f"size: expected at least {multiple}x{multiple} pixels, found {width}x{height}")
    return width // multiple * multiple, height // multiple * multiple


def to_vae_range(frames: Tensor) -> Tensor:
    """Frames (f, h, w, c) in 0 … 255 as the video VAE takes them: float32 (1, c, f, h, w) in [-1, 1]."""
    return frames_first(frames.float() / 127.5 - 1)


def frames_first(frames: Tensor) -> Tensor:
    """(f, h, w, c) -> (1, c, f, h, w), values as they are."""
    return rearrange(frames, "f h w c -> 1 c f h w")


def _bilinear(frames: Tensor, height: int, width: int) -> Tensor:
    planes = rearrange(frames.to(torch.float32), "f h w c -> f c h w")
    scaled = F.interpolate(planes, size=(height, width), mode="bilinear", align_corners=False, antialias=False)
    return rearrange(scaled, "f c h w -> f h w c")
