"""Masks as additive attention biases (spec page transformer, section 8).

A mask over keys only stays (…, 1, S): the N x N form of it is never made. One that changes nothing becomes None,
which lets the attention back end take kernels that know no bias. Strengths between all tokens may come as a function
of a range of queries; then so does the bias.
"""

# B batch, H heads, T query tokens, S key tokens
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..attention import BiasRows

StrengthRows = Callable[[slice], Tensor]  # a range of queries → (B or 1, R, T) in [0, 1]


def context_bias(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Bias in `dtype` from a text mask: integer or bool (B, S), 1 = keep; or a float bias, broadcast to (B, H, T, S).

    A float bias with 3 axes gets a head axis, one with 2 axes batch and head axes. Synchronises with the device.
    """
    if mask is None:
        return None
    limits = torch.finfo(dtype)
    if mask.is_floating_point():
        expanded = {2: mask[None, None], 3: mask[:, None]}.get(mask.ndim, mask)
        # The lowest float32 would round to -inf in bfloat16, and a row of nothing else to NaN.
        return expanded.clamp(min=limits.min).to(dtype)
    if bool(mask.bool().all()):
        return None
    return ((mask.to(dtype) - 1) * limits.max)[:, None, None]


def strength_bias(strength: Tensor | StrengthRows | None, dtype: torch.dtype) -> Tensor | BiasRows | None:
    """Bias (B, 1, T or 1, T) in `dtype` from self-attention strengths (B, T or 1, T) in [0, 1]: their logarithm.

    Strength 0 becomes the lowest finite number. Synchronises with the device, but for rows: they are made when needed.
    """
    if strength is None:
        return None
    if not isinstance(strength, Tensor):
        return lambda rows: _logarithm(strength(rows), dtype)
    return None if bool((strength == 1).all()) else _logarithm(strength, dtype)


def _logarithm(strength: Tensor, dtype: torch.dtype) -> Tensor:
    limits = torch.finfo(dtype)
    bias = strength.float().clamp(min=limits.tiny).log().masked_fill(strength <= 0, limits.min)
    return bias.to(dtype)[:, None]
