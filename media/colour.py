"""RGB to YUV code values (spec media_io.md 4.1)."""

# F frames, H height, W width
from __future__ import annotations

import numpy as np
import torch
from einops import rearrange, reduce
from torch import Tensor

BT709 = ((0.2126, 0.7152, 0.0722), (-0.1146, -0.3854, 0.5), (0.5, -0.4542, -0.0458))


def rgb_to_i420(frames: Tensor) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    """BT.709 limited-range 8-bit 4:2:0, packed as I420.

    frames (F, H, W, 3) float in [0, 1], H and W even. Values are clamped and truncated, not rounded. Returns uint8
    (F, H * 3 / 2, W): the Y plane, then U and V flattened one after the other. Raises ValueError for odd sizes.
    """
    count, height, width, _ = frames.shape
    if height % 2 or width % 2:
        raise ValueError(f"frames: expected even width and height, found {width}x{height}")
    yuv = frames.float() @ frames.new_tensor(BT709, dtype=torch.float32).T
    luma = yuv[..., 0] * 219 + 16
    chroma = reduce(yuv[..., 1:], "f (h a) (w b) c -> f c h w", "mean", a=2, b=2) * 224 + 128
    packed = torch.cat([rearrange(luma, "f h w -> f (h w)"), rearrange(chroma, "f c h w -> f (c h w)")], dim=1)
    codes = packed.clamp_(0, 255).to(torch.uint8).cpu().numpy()
    return codes.reshape(count, height * 3 // 2, width)
