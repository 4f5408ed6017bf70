"""How many bytes the convolutional video VAE works with (spec pages memory, section 3, and video_vae, section 8).

Counts of our own allocations in bfloat16, beside weights and result; see tests/test_video_tiling.py. What convolution
back ends take on top is not in them, so plan with WORKSPACE times as much.
"""

from __future__ import annotations

import torch
from torch import Tensor

GIB = 2**30
FACTOR = 32  # pixels a cell, published
WORKSPACE = 2.5  # the published code needs 97 bytes a pixel by such a count, and 200 to 350 on devices
DECODE_FIXED, DECODE_A_PIXEL = int(1.4 * GIB), 1350  # bytes; pixels of one frame: a stream holds few frames
ENCODE_FIXED, ENCODE_A_PIXEL = 0, 1900
BLEND_BYTES = 12  # a pixel of a group of tiles: three float32 sums


def decode_bytes(height: int, width: int, *, element_size: int = 2) -> int:
    """Of `VideoDecoder.decode_stream`, for a frame of height x width pixels: the length of the clip does not matter."""
    return (DECODE_FIXED + DECODE_A_PIXEL * height * width) * element_size // 2


def encode_bytes(height: int, width: int, *, element_size: int = 2) -> int:
    """Of `VideoEncoder.encode_stream`, for a frame of height x width pixels."""
    return (ENCODE_FIXED + ENCODE_A_PIXEL * height * width) * element_size // 2


def planned_decode_bytes(latent: Tensor, dtype: torch.dtype) -> int:
    """What a device should have free to decode `latent` (B, C, F, H', W') with weights of `dtype`."""
    height, width = FACTOR * latent.shape[3], FACTOR * latent.shape[4]
    return int(WORKSPACE * latent.shape[0] * decode_bytes(height, width, element_size=dtype.itemsize))


def planned_encode_bytes(video: Tensor, dtype: torch.dtype) -> int:
    """What it should have free to encode `video` (B, 3, T, H, W), which lies there too."""
    working = video.shape[0] * encode_bytes(video.shape[3], video.shape[4], element_size=dtype.itemsize)
    return int(WORKSPACE * working) + video.numel() * video.element_size()


def tiled_decode_bytes(tile: tuple[int, int, int], height: int, width: int, *, element_size: int = 2) -> int:
    """Of `decode_tiled_stream` with tiles of (frames, height, width) on frames of height x width pixels."""
    frames, tile_height, tile_width = tile
    sums = BLEND_BYTES * frames * height * width
    return decode_bytes(min(tile_height, height), min(tile_width, width), element_size=element_size) + sums
