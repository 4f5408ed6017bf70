"""RGB to the code values of files: YUV planes and 8-bit RGB (spec media_io.md 4.1)."""

# F frames, H height, W width, h w size of the chroma planes, q 2^(bits - 8)
from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from einops import rearrange
from torch import Tensor

Matrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
Codes8 = npt.NDArray[np.uint8]

BT709: Matrix = ((0.2126, 0.7152, 0.0722), (-0.1146, -0.3854, 0.5), (0.5, -0.4542, -0.0458))
BT2020: Matrix = (
    (0.2627, 0.6780, 0.0593),
    (-0.2627 / 1.8814, -0.6780 / 1.8814, 0.5),
    (0.5, -0.6780 / 1.4746, -0.0593 / 1.4746),
)


class Planes(NamedTuple):
    """luma (F, H, W) and both chroma planes (F, 2, h, w): real-valued levels, or codes."""

    luma: Tensor
    chroma: Tensor


def yuv_levels(
    frames: Tensor, matrix: Matrix, *, bits: int = 8, full: bool = False, subsampling: tuple[int, int] = (2, 2)
) -> Planes:
    """Levels before they become integers, for frames (F, H, W, 3) float.

    subsampling: rows and columns that share one chroma sample, (2, 2) for 4:2:0. float32 on the device of `frames`.
    Raises ValueError for sizes that the subsampling does not divide.
    """
    rows, columns = subsampling
    assert rows in (1, 2)
    height, width = frames.shape[1:3]
    if height % rows or width % columns:
        raise ValueError(f"frames: expected even width and height, found {width}x{height}")
    rgb = frames.float()
    weights = rgb.new_tensor(matrix)
    summed = rgb if rows == 1 else rgb[:, 0::2] + rgb[:, 1::2]
    # Mean and matrix in one product over the row of a block: four times as fast as a mean of its own.
    blocks = rearrange(summed, "f h (w b) c -> f h w (b c)", b=columns)
    shared = weights.repeat(1, columns) / (rows * columns)
    luma, chroma = rgb @ weights[0], torch.stack([blocks @ shared[1], blocks @ shared[2]], dim=1)
    if full:
        top = 2**bits - 1
        return Planes(luma * top, (chroma + 0.5) * top)
    q = 2 ** (bits - 8)
    return Planes(luma.mul_(219 * q).add_(16 * q), chroma.mul_(224 * q).add_(128 * q))


def rgb_to_i420(frames: Tensor) -> Codes8:
    """BT.709 limited-range 8-bit 4:2:0, packed as I420.

    frames (F, H, W, 3) float in [0, 1], H and W even. Values are clamped and truncated, not rounded; NaN becomes black.
    Returns uint8 (F, H * 3 / 2, W): the Y plane, then U and V flattened one after the other. Raises ValueError for odd
    sizes.
    """
    count, height, width, _ = frames.shape
    luma, chroma = _finite(yuv_levels(frames, BT709), bits=8)
    packed = torch.empty(count, height * 3 // 2, width, dtype=torch.uint8, device=frames.device)
    packed[:, :height] = luma.clamp_(0, 255)
    packed[:, height:].view(chroma.shape).copy_(chroma.clamp_(0, 255))
    return np.asarray(packed.cpu().numpy(), dtype=np.uint8)


def rgb_to_10bit(frames: Tensor, matrix: Matrix, *, subsampling: tuple[int, int] = (2, 2)) -> Planes:
    """Limited-range 10-bit codes of frames (F, H, W, 3), int16 tensors on the CPU: rounded to nearest, ties to even.

    NaN becomes black. Raises ValueError for sizes that the subsampling does not divide.
    """
    levels = _finite(yuv_levels(frames, matrix, bits=10, subsampling=subsampling), bits=10)
    return Planes(*(plane.round_().clamp_(0, 1023).to(torch.int16).cpu() for plane in levels))


def rgb_to_rgb24(frames: Tensor) -> Codes8:
    """8-bit RGB of frames (..., 3): clamped to [0, 1], truncated; NaN becomes black. x / 255 gives x back exactly."""
    codes = (frames.float() * 255).nan_to_num_(nan=0.0).clamp_(0, 255)
    return np.asarray(codes.to(torch.uint8).cpu().numpy(), dtype=np.uint8)


def _finite(levels: Planes, *, bits: int) -> Planes:
    q = 2 ** (bits - 8)
    # +inf and -inf are left to the clamp: white and black.
    return Planes(levels.luma.nan_to_num_(nan=16.0 * q), levels.chroma.nan_to_num_(nan=128.0 * q))
