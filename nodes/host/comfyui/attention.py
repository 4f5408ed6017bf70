"""Somebody else's attention in place of ours, where a MODEL carries one (`optimized_attention_override`)."""

# B batch, H heads, T query tokens, S key tokens, w head width
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from einops import rearrange
from torch import Tensor

from ....networks.attention import AttentionBackend, current_backend

MERGED = "B T (H w) -> B H T w"


def overridden(override: Callable[..., Tensor], options: Mapping[str, Any]) -> AttentionBackend:
    """A back end that asks `override(function, q, k, v, heads, mask, …)`; `function` is our own attention."""

    def backend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float | None) -> Tensor:
        def ours(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None, **how: Any) -> Tensor:
            if not how.get("skip_reshape"):
                q, k, v = (rearrange(x, MERGED, H=heads) for x in (q, k, v))
            result = unpatched(q, k, v, mask, scale)
            return result if how.get("skip_output_reshape") else rearrange(result, "B H T w -> B T (H w)")

        found = override(
            ours,
            q,
            k,
            v,
            q.shape[1],
            mask=bias,
            skip_reshape=True,
            skip_output_reshape=True,
            transformer_options=options,
        )
        return found if found.ndim == 4 else rearrange(found, MERGED, H=q.shape[1])

    unpatched = current_backend()
    return backend
