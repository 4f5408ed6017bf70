"""RGB to the code values of files: YUV planes and 8-bit RGB (spec media_io.md 4.1)."""

# F frames, H height, W width, h w size of the chroma planes, q 2^(bits - 8)
from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from einops import rearrange
from torch import Tensor

Matrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
Codes8 = npt.NDArray[np.uint8]
Signal = Callable[[Tensor], Tensor]
ROWS = 64  # converted at a time; even

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


class Memory:
    """Working memory that is kept from one frame to the next: fresh pages cost as much time as the arithmetic."""

    def __init__(self) -> None:
        self._kept: dict[str, Tensor] = {}

    def __call__(self, name: str, shape: tuple[int, ...], device: torch.device) -> Tensor:
        """float32 of this shape, with whatever stood in it before."""
        kept = self._kept.get(name)
        if kept is None or kept.numel() < prod(shape) or kept.device != device:
            kept = self._kept[name] = torch.empty(prod(shape), device=device)
        return kept[: prod(shape)].view(shape)


def yuv_levels(
    frames: Tensor,
    matrix: Matrix,
    *,
    bits: int = 8,
    full: bool = False,
    subsampling: tuple[int, int] = (2, 2),
    memory: Memory | None = None,
) -> Planes:
    """Levels before they become integers, for frames (F, H, W, 3) float.

    subsampling: rows and columns that share one chroma sample, (2, 2) for 4:2:0. float32 on the device of `frames`.
    memory: what the result is in, until its next use. Raises ValueError for sizes that the subsampling does not divide.
    """
    rows, columns = subsampling
    assert rows in (1, 2)
    count, height, width, _ = frames.shape
    if height % rows or width % columns:
        raise ValueError(f"frames: expected even width and height, found {width}x{height}")
    rgb, kept, device = frames.float(), memory or Memory(), frames.device
    weights = rgb.new_tensor(matrix)
    summed = rgb
    if rows == 2:
        summed = torch.add(rgb[:, 0::2], rgb[:, 1::2], out=kept("rows", (count, height // 2, width, 3), device))
    # Mean and matrix in one product over the row of a block: four times as fast as a mean of its own.
    blocks = rearrange(summed, "f h (w b) c -> f h w (b c)", b=columns)
    shared = weights.repeat(1, columns) / (rows * columns)
    luma = _product(rgb, weights[0], kept("luma", (count, height, width), device))
    shape = (count, height // rows, width // columns)
    chroma = torch.stack([_product(blocks, shared[1 + i], kept(f"chroma {i}", shape, device)) for i in (0, 1)], dim=1)
    if full:
        top = 2**bits - 1
        return Planes(luma.mul_(top), chroma.add_(0.5).mul_(top))
    q = 2 ** (bits - 8)
    return Planes(luma.mul_(219 * q).add_(16 * q), chroma.mul_(224 * q).add_(128 * q))


def _product(values: Tensor, weights: Tensor, out: Tensor) -> Tensor:
    """(…, n) times (n) → `out`. As one flat product: torch takes a far slower way for more axes and an `out`."""
    torch.mv(values.reshape(-1, len(weights)), weights, out=out.view(-1))
    return out


def write_codes(
    frame: Tensor,
    matrix: Matrix,
    planes: Sequence[Tensor],
    *,
    bits: int = 8,
    subsampling: tuple[int, int] = (2, 2),
    signal: Signal | None = None,
    memory: Memory | None = None,
) -> None:
    """Limited-range codes of a frame (H, W, 3) float in [0, 1], into its planes Y, U and V, integers on the CPU.

    8 bits: clamped and truncated, as the official writer does; 10: rounded to nearest, ties to even. NaN becomes black.
    signal: applied to the frame before (HLG). A few rows at a time, which stay in the processor's cache.
    Raises ValueError for sizes that the subsampling does not divide.
    """
    height, rows, kept = frame.shape[0], subsampling[0], memory or Memory()
    step = ROWS if frame.device.type == "cpu" else height
    for first in range(0, height, step):
        strip = frame[None, first : first + step]
        strip = strip if signal is None else signal(strip)
        levels = _finite(yuv_levels(strip, matrix, bits=bits, subsampling=subsampling, memory=kept), bits=bits)
        if bits > 8:
            levels.luma.round_(), levels.chroma.round_()
        last, top = first + strip.shape[1], 2**bits - 1
        planes[0][first:last] = levels.luma[0].clamp_(0, top)
        for index in (0, 1):
            planes[1 + index][first // rows : last // rows] = levels.chroma[0, index].clamp_(0, top)


def rgb_to_i420(frames: Tensor) -> Codes8:
    """BT.709 limited-range 8-bit 4:2:0, packed as I420.

    frames (F, H, W, 3) float in [0, 1], H and W even; as `write_codes`. Returns uint8 (F, H * 3 / 2, W): the Y plane,
    then U and V flattened one after the other. Raises ValueError for odd sizes.
    """
    count, height, width, _ = frames.shape
    packed = torch.empty(count, height + height // 2, width, dtype=torch.uint8)
    if height % 2 == width % 2 == 0:
        chroma = packed[:, height:].view(count, 2, height // 2, width // 2)
        for index, frame in enumerate(frames):
            write_codes(frame, BT709, (packed[index, :height], *chroma[index]))
        return np.asarray(packed.numpy(), dtype=np.uint8)
    raise ValueError(f"frames: expected even width and height, found {width}x{height}")


def rgb_to_10bit(
    frames: Tensor, matrix: Matrix, *, subsampling: tuple[int, int] = (2, 2), signal: Signal | None = None
) -> Planes:
    """10-bit codes of frames (F, H, W, 3), int16 tensors on the CPU; as `write_codes`."""
    (count, height, width, _), (rows, columns) = frames.shape, subsampling
    luma = torch.empty(count, height, width, dtype=torch.int16)
    chroma = torch.empty(count, 2, height // rows, width // columns, dtype=torch.int16)
    for index, frame in enumerate(frames):
        planes = (luma[index], *chroma[index])
        write_codes(frame, matrix, planes, bits=10, subsampling=subsampling, signal=signal)
    return Planes(luma, chroma)


def rgb_to_rgb24(frames: Tensor) -> Codes8:
    """8-bit RGB of frames (..., 3): clamped to [0, 1], truncated; NaN becomes black. x / 255 gives x back exactly."""
    codes = (frames.float() * 255).nan_to_num_(nan=0.0).clamp_(0, 255)
    return np.asarray(codes.to(torch.uint8).cpu().numpy(), dtype=np.uint8)


def _finite(levels: Planes, *, bits: int) -> Planes:
    q = 2 ** (bits - 8)
    # +inf and -inf are left to the clamp: white and black.
    return Planes(levels.luma.nan_to_num_(nan=16.0 * q), levels.chroma.nan_to_num_(nan=128.0 * q))
