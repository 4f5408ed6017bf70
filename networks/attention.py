"""Scaled dot-product attention: the one place that chooses the back end."""

# B batch, H heads, T query tokens, S key tokens, d head width
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch.nn.functional as F
from torch import Tensor

AttentionBackend = Callable[[Tensor, Tensor, Tensor, "Tensor | None", "float | None"], Tensor]


def _torch_sdpa(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float | None) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)


_backend: ContextVar[AttentionBackend] = ContextVar("attention_backend", default=_torch_sdpa)


def attention(q: Tensor, k: Tensor, v: Tensor, *, bias: Tensor | None = None, scale: float | None = None) -> Tensor:
    """softmax(q k^T * scale + bias) v with the current back end.

    q (B, H, T, d); k, v (B, H, S, d); bias None or additive, broadcastable to (B, H, T, S), dtype of q;
    scale None means d ** -0.5. Returns (B, H, T, d).
    """
    return _backend.get()(q, k, v, bias, scale)


@contextmanager
def attention_backend(backend: AttentionBackend) -> Iterator[None]:
    """Use `backend` for every `attention` call inside the `with` block."""
    token = _backend.set(backend)
    try:
        yield
    finally:
        _backend.reset(token)
