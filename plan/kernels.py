"""What kernels take for themselves beside their results: read off the allocator (torch 2.13 on a CPU), then frozen.

Those of GPUs are estimates: nothing has been measured there yet.
"""

# B batch, H heads, T query tokens, S key tokens, d head width, C channels
from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor

from ..networks.attention import LEAST_KEYS, LEAST_QUERIES, PIECE_SCORES, AttentionBackend
from .allocations import Allocations

KIB = 2**10
OWN_CONVOLUTION = 20480  # elements up to which torch lays out columns itself, in float32, and does not ask oneDNN
BLOCK = 16  # channels side by side in oneDNN's layouts
ONEDNN_FIXED = 8 * KIB
ONEDNN_PRODUCT = 97 * KIB  # of a product in bfloat16
PRODUCTS = (torch.ops.aten.addmm, torch.ops.aten.mm)
FLASH_KEYS = 512  # keys a tile of torch's attention on a CPU
CUDNN_SHARE = 1.0  # of input and result of a convolution, for its workspace


def workspace(device: torch.device, func: Any, args: tuple[Any, ...], result: Any) -> int:
    """Bytes that an operation takes on `device` while it runs."""
    if func.overloadpacket in PRODUCTS:
        return ONEDNN_PRODUCT if device.type == "cpu" and args[-1].dtype is torch.bfloat16 else 0
    if func.overloadpacket is not torch.ops.aten.convolution:
        return 0
    x, weight, transposed, groups = args[0], args[1], bool(args[6]), int(args[8])
    if device.type != "cpu":
        return int(CUDNN_SHARE * (_bytes(x) + _bytes(result)))
    flat = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.ndim)
    channels_last = flat is not None and x.is_contiguous(memory_format=flat)
    if x.dtype is torch.float32 and groups == 1 and len(x) == 1 and prod(x.shape[:4]) <= OWN_CONVOLUTION:
        positions = prod((x if transposed else result).shape[2:])
        return int(prod(weight.shape[1:]) * positions * 4) + (_bytes(x) if channels_last else 0)
    if channels_last:
        return ONEDNN_FIXED + 2 * _bytes(weight)
    inside, out = _blocked(x), _blocked(result)
    copies = inside + out + _bytes(weight) + (_bytes(x) if transposed and groups == 1 else 0)
    return ONEDNN_FIXED + max(copies, out + _bytes(result)) - _bytes(result)


def _bytes(x: Tensor) -> int:
    return x.numel() * x.element_size()


def _blocked(x: Tensor) -> int:
    """In oneDNN's own layout, whose channels come in blocks."""
    return _bytes(x) * (-(-x.shape[1] // BLOCK) * BLOCK) // x.shape[1]


def rehearsed_attention(allocations: Allocations, device: torch.device, threads: int) -> AttentionBackend:
    """A back end that computes nothing and takes the memory that the usual one of `device` takes."""

    def backend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float | None) -> Tensor:
        batch, heads, tokens, width = q.shape
        out = q.new_empty(batch, tokens, heads, v.shape[-1]).transpose(1, 2)
        allocations.operations += 2 * batch * heads * tokens * k.shape[2] * (width + v.shape[-1])
        allocations.hold(attention_workspace(q, k.shape[2], device, threads, biased=bias is not None))
        return out

    return backend


def attention_workspace(q: Tensor, keys: int, device: torch.device, threads: int, *, biased: bool = False) -> int:
    """q (B, H, T, d); keys: S."""
    batch, heads, tokens, width = q.shape
    sums = batch * heads * tokens * 4  # of the exponents, kept by flash kernels
    if device.type != "cpu":
        return sums
    if tokens >= LEAST_QUERIES and keys >= LEAST_KEYS and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        rows = min(tokens, max(LEAST_QUERIES, PIECE_SCORES // keys))
        # scores, and their exponents or the scores of the piece before; with a bias: their sum in two layouts
        alive = 2 if not biased else 3 if q.dtype is torch.float32 else 4
        maps = alive * rows * keys
        return 4 * (maps + 2 * keys * width + 3 * rows * width)
    rows = 256 if tokens >= 768 else 64 if tokens >= 192 else 32
    columns = min(FLASH_KEYS, keys)
    tile = 4 * (rows * columns + 2 * rows + rows * width) + (0 if q.dtype is torch.float32 else 2 * rows * columns)
    return threads * tile + sums
