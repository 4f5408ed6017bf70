"""Block types of GGUF: sizes, and one pure function each from bytes to numbers (quantization.md section 7.2).

Every function takes the bytes of n blocks (n, bytes), uint8, and returns (n, elements) in the dtype asked for. The
products are taken in the order of the table there, which makes float32 results exact.
"""

# n blocks, h halves, g quarters, l, j sub-blocks, i elements of a sub-block
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

DequantiseBlocks = Callable[[Tensor, torch.dtype], Tensor]
# IQ4: sixteen unevenly spaced values
VALUES = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)


@dataclass(frozen=True, kw_only=True)
class BlockType:
    """`elements` values in `bytes` bytes. plain: the dtype of a type whose bytes are its values."""

    name: str
    elements: int = 1
    bytes: int
    plain: torch.dtype | None = None
    dequantise: DequantiseBlocks | None = None


def dequantise_blocks(data: Tensor, kind: str, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Blocks (n, bytes of a block), uint8 → (n, elements), where the bytes lie."""
    block = BY_NAME[kind]
    assert block.dequantise is not None, f"{kind} is a plain type"
    return block.dequantise(data, dtype)


def _split(blocks: Tensor, *sizes: int) -> Sequence[Tensor]:
    return torch.split(blocks, [*sizes, blocks.shape[1] - sum(sizes)], dim=1)


def _half_float(data: Tensor, dtype: torch.dtype) -> Tensor:
    """(n, 2) bytes → (n, 1)"""
    return data.contiguous().view(torch.float16).to(dtype)


def _shifted(data: Tensor, shifts: Sequence[int], axis: int, mask: int) -> Tensor:
    """A new axis at `axis`: the bits that each shift brings to the low end."""
    table = torch.tensor(shifts, dtype=torch.uint8, device=data.device)
    shape = [1] * (data.ndim + 1)
    shape[axis] = len(shifts)
    return (data.unsqueeze(axis) >> table.view(shape)) & mask


def _nibbles(data: Tensor) -> Tensor:
    """(n, b) bytes → (n, 2 b): all low halves, then all high ones."""
    return _shifted(data, (0, 4), 1, 15).flatten(1)


def _bits(data: Tensor) -> Tensor:
    """(n, b) bytes → (n, 8 b) bits, the lowest first."""
    return _shifted(data, range(8), 2, 1).flatten(1)


def _q4_0(blocks: Tensor, dtype: torch.dtype) -> Tensor:
    d, qs = _split(blocks, 2)
    return _half_float(d, dtype) * (_nibbles(qs).to(dtype) - 8)


def _q4_1(blocks: Tensor, dtype: torch.dtype) -> Tensor:
    d, m, qs = _split(blocks, 2, 2)
    return _half_float(d, dtype) * _nibbles(qs).to(dtype) + _half_float(m, dtype)


def _q5_0(blocks: Tensor, dtype: torch.dtype) -> Tensor:
    d, qh, qs = _split(blocks, 2, 4)
    return _half_float(d, dtype) * ((_nibbles(qs) | (_bits(qh) << 4)).to(dtype) - 16)


def _q5_1(blocks: Tensor, dtype: torch.dtype) -> Tensor:
    d, m, qh, qs = _split(blocks, 2, 2, 4)
    return _half_float(d, dtype) * (_nibbles(qs) | (_bits(qh) << 4)).to(dtype) + _half_float(m, dtype)


def _q8_0(blocks: Tensor, dtype: torch.dtype) -> Tensor:
    d, qs = _split(blocks, 2)
    return _half_float(d, dtype) * qs.contiguous().view(torch.int8).to(dtype)


def _two_bits(qs: Tensor) -> Tensor:
    """(n, 64) bytes → (n, 16, 16): sub-block k = 8 h + 2 g + l."""
    parts = _shifted(rearrange(qs, "n (h l i) -> n h l i", h=2, l=2), (0, 2, 4, 6), 2, 3)
    return rearrange(parts, "n h g l i -> n (h g l) i")


def _q2_k(blocks: Tensor, dtype: torch.dtype) -> Tensor:
    sc, qs, d, dmin = _split(blocks, 16, 64, 2)
    scale = (_half_float(d, dtype) * (sc & 15).to(dtype))[..., None]
    minimum = (_half_float(dmin, dtype) * (sc >> 4).to(dtype))[..., None]
    return (scale * _two_bits(qs).to(dtype) - minimum).flatten(1)


def _q3_k(blocks: Tensor, dtype: torch.dtype) -> Tensor:
    hmask, qs, sc, d = _split(blocks, 32, 64, 12)
    low = _shifted(sc[:, :8], (0, 4), 1, 15).flatten(1)
    high = _shifted(sc[:, 8:], (0, 2, 4, 6), 1, 3).flatten(1)
    scale = _half_float(d, dtype) * ((low | (high << 4)).to(dtype) - 32)
    bits = rearrange(_shifted(hmask, range(8), 1, 1), "n (h g) (l i) -> n (h g l) i", h=2, l=2)
    values = _two_bits(qs).to(dtype) - 4 * (1 - bits.to(dtype))
    return (scale[..., None] * values).flatten(1)


def _scales_and_minima(sc: Tensor) -> tuple[Tensor, Tensor]:
    """(n, 12) bytes → eight scales and eight minima of six bits."""
    a, b, c = _split(sc, 4, 4)
    scales = torch.cat((a & 63, (c & 15) | ((a >> 6) << 4)), dim=1)
    return scales, torch.cat((b & 63, (c >> 4) | ((b >> 6) << 4)), dim=1)


def _with_minima(d: Tensor, dmin: Tensor, sc: Tensor, values: Tensor, dtype: torch.dtype) -> Tensor:
    """d S q - dmin M. values (n, 8, 32)"""
    scales, minima = _scales_and_minima(sc)
    scale, minimum = _half_float(d, dtype) * scales.to(dtype), _half_float(dmin, dtype) * minima.to(dtype)
    return (scale[..., None] * values.to(dtype) - minimum[..., None]).flatten(1)


def _four_bits(qs: Tensor) -> Tensor:
    """(n, 128) bytes → (n, 8, 32): the low halves of 32 bytes, then their high halves."""
    return _shifted(rearrange(qs, "n (pair i) -> n pair i", i=32), (0, 4), 2, 15).flatten(1, 2)


def _q4_k(blocks: Tensor, dtype: torch.dtype) -> Tensor:
    d, dmin, sc, qs = _split(blocks, 2, 2, 12)
    return _with_minima(d, dmin, sc, _four_bits(qs), dtype)


def _q5_k(blocks: Tensor, dtype: torch.dtype) -> Tensor:
    d, dmin, sc, qh, qs = _split(blocks, 2, 2, 12, 32)
    values = _four_bits(qs) | (_shifted(qh, range(8), 1, 1) << 4)
    return _with_minima(d, dmin, sc, values, dtype)


def _q6_k(blocks: Tensor, dtype: torch.dtype) -> Tensor:
    ql, qh, sc, d = _split(blocks, 128, 64, 16)
    low = _shifted(rearrange(ql, "n (h odd i) -> n h odd i", h=2, odd=2), (0, 4), 2, 15)
    high = _shifted(rearrange(qh, "n (h i) -> n h i", h=2), (0, 2, 4, 6), 2, 3)
    values = rearrange(low, "n h half odd i -> n h (half odd) i") | (high << 4)
    scale = _half_float(d, dtype) * sc.contiguous().view(torch.int8).to(dtype)
    return (scale[..., None] * (rearrange(values, "n h g (l i) -> n (h g l) i", l=2).to(dtype) - 32)).flatten(1)


def _from_table(codes: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.tensor(VALUES, dtype=dtype, device=codes.device)[codes.int()]


def _iq4_nl(blocks: Tensor, dtype: torch.dtype) -> Tensor:
    d, qs = _split(blocks, 2)
    return _half_float(d, dtype) * _from_table(_nibbles(qs), dtype)


def _iq4_xs(blocks: Tensor, dtype: torch.dtype) -> Tensor:
    d, sh, sl, qs = _split(blocks, 2, 2, 4)
    low = _shifted(sl, (0, 4), 2, 15).flatten(1)
    high = _shifted(sh, (0, 2, 4, 6), 2, 3).flatten(1)
    scale = _half_float(d, dtype) * ((low | (high << 4)).to(dtype) - 32)
    codes = _shifted(rearrange(qs, "n (j i) -> n j i", j=8), (0, 4), 2, 15).flatten(2)
    return (scale[..., None] * _from_table(codes, dtype)).flatten(1)


def _plain(name: str, dtype: torch.dtype) -> BlockType:
    return BlockType(name=name, bytes=dtype.itemsize, plain=dtype)


TYPES = {
    0: _plain("F32", torch.float32),
    1: _plain("F16", torch.float16),
    2: BlockType(name="Q4_0", elements=32, bytes=18, dequantise=_q4_0),
    3: BlockType(name="Q4_1", elements=32, bytes=20, dequantise=_q4_1),
    6: BlockType(name="Q5_0", elements=32, bytes=22, dequantise=_q5_0),
    7: BlockType(name="Q5_1", elements=32, bytes=24, dequantise=_q5_1),
    8: BlockType(name="Q8_0", elements=32, bytes=34, dequantise=_q8_0),
    10: BlockType(name="Q2_K", elements=256, bytes=84, dequantise=_q2_k),
    11: BlockType(name="Q3_K", elements=256, bytes=110, dequantise=_q3_k),
    12: BlockType(name="Q4_K", elements=256, bytes=144, dequantise=_q4_k),
    13: BlockType(name="Q5_K", elements=256, bytes=176, dequantise=_q5_k),
    14: BlockType(name="Q6_K", elements=256, bytes=210, dequantise=_q6_k),
    20: BlockType(name="IQ4_NL", elements=32, bytes=18, dequantise=_iq4_nl),
    23: BlockType(name="IQ4_XS", elements=256, bytes=136, dequantise=_iq4_xs),
    24: _plain("I8", torch.int8),
    25: _plain("I16", torch.int16),
    26: _plain("I32", torch.int32),
    27: _plain("I64", torch.int64),
    28: _plain("F64", torch.float64),
    30: _plain("BF16", torch.bfloat16),
}
BY_NAME = {block.name: block for block in TYPES.values()}
QUANTISED_TYPES = tuple(block.name for block in TYPES.values() if block.dequantise is not None)
