"""The attention and feed-forward layers of a block (spec page transformer, section 7.1)."""

# B batch, T query tokens, S key tokens, H heads, w head width
from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..attention import BiasRows, Watcher, attention
from ..operations import Operations, torch_operations
from .modulation import by_tokens
from .perturbations import Keep
from .rope import RopeTable, rotate


class Attention(nn.Module):
    """Attention with query and key norms over all heads together, optional rotation, optional gate for each head."""

    watcher: Watcher | None = None  # is shown the queries and keys of every call

    def __init__(
        self,
        query_width: int,
        context_width: int,
        inner_width: int,
        *,
        heads: int,
        gated: bool,
        eps: float,
        operations: Operations = torch_operations,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.q_norm = operations.RMSNorm(inner_width, eps=eps)
        self.k_norm = operations.RMSNorm(inner_width, eps=eps)
        self.to_q = operations.Linear(query_width, inner_width)
        self.to_k = operations.Linear(context_width, inner_width)
        self.to_v = operations.Linear(context_width, inner_width)
        self.to_out = nn.ModuleList([operations.Linear(inner_width, query_width)])
        self.to_gate_logits = operations.Linear(query_width, heads) if gated else None

    def forward(
        self,
        x: Tensor,
        context: Tensor,
        *,
        bias: Tensor | None = None,
        rope: RopeTable | None = None,
        context_rope: RopeTable | None = None,
    ) -> Tensor:
        """x (B, T, query width) attends to context (B, S, context width); result like x."""
        values = self.values(context)
        queries, keys = self.queries(x, rope), self.keys(context, context_rope)
        attended = attention(queries, keys, values, bias=bias, watcher=self.watcher)
        return self.output(attended, self.gates(x))

    def within(
        self,
        make: Callable[[], Tensor],
        *,
        bias: Tensor | BiasRows | None = None,
        rope: RopeTable | None = None,
        keep: Keep = True,
    ) -> Tensor:
        """What make() returns, (B, T, width), attends to itself; it is made here to be freed before the attention.

        keep: samples that are not kept get their own values instead of the softmax result.
        """
        x = make()
        gates, values = self.gates(x), self.values(x)
        if keep is False:
            return self.output(values, gates)
        queries, keys = self.queries(x, rope), self.keys(x, rope)
        del x
        attended = attention(queries, keys, values, bias=bias, watcher=self.watcher)
        del queries, keys
        if isinstance(keep, Tensor):
            attended = torch.where(keep[..., None], attended, values)
        del values
        return self.output(attended, gates)

    def queries(self, x: Tensor, rope: RopeTable | None = None) -> Tensor:
        return self._rotated_heads(_normed(self.to_q(x), self.q_norm), rope)

    def keys(self, context: Tensor, rope: RopeTable | None = None) -> Tensor:
        return self._rotated_heads(_normed(self.to_k(context), self.k_norm), rope)

    def values(self, context: Tensor) -> Tensor:
        return self._heads(self.to_v(context))

    def gates(self, x: Tensor) -> Tensor | None:
        """Of each head, from the query input x (B, T, query width): (B, H, T, 1)."""
        if self.to_gate_logits is None:
            return None
        return rearrange(2 * torch.sigmoid(self.to_gate_logits(x)), "B T H -> B H T 1")

    def output(self, attended: Tensor, gates: Tensor | None) -> Tensor:
        """Gate and project: attended (B, H, T, w), which may be overwritten -> (B, T, query width)."""
        if gates is not None:
            attended = attended * gates if torch.is_grad_enabled() else attended.mul_(gates)
        return self.to_out[0](rearrange(attended, "B H T w -> B T (H w)"))  # type: ignore[no-any-return]

    def _rotated_heads(self, x: Tensor, rope: RopeTable | None) -> Tensor:
        if rope is None:
            return self._heads(x)
        return rotate(x, rope, heads=self.heads, in_place=not torch.is_grad_enabled())

    def _heads(self, x: Tensor) -> Tensor:
        return rearrange(x, "B T (H w) -> B H T w", H=self.heads)


def _normed(x: Tensor, norm: nn.Module) -> Tensor:
    """norm(x), x (B, T, D) not needed any more."""
    return by_tokens(lambda tokens: norm(x[:, tokens]), x, overwrite=True)


class _GeluProjection(nn.Module):
    def __init__(self, width: int, inner_width: int, *, bias: bool, operations: Operations) -> None:
        super().__init__()
        self.proj = operations.Linear(width, inner_width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.proj(x), approximate="tanh")


class FeedForward(nn.Module):
    """Two linears around a GELU, four times as wide inside."""

    def __init__(self, width: int, *, bias: bool, operations: Operations = torch_operations) -> None:
        super().__init__()
        self.net = nn.Sequential(
            _GeluProjection(width, 4 * width, bias=bias, operations=operations),
            nn.Identity(),  # the dropout of the published key names
            operations.Linear(4 * width, width, bias=bias),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)  # type: ignore[no-any-return]


class CaptionProjection(nn.Module):
    """Text width -> stream width (generation 2)."""

    def __init__(self, caption_channels: int, width: int, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        self.linear_1 = operations.Linear(caption_channels, width)
        self.linear_2 = operations.Linear(width, width)

    def forward(self, context: Tensor) -> Tensor:
        return self.linear_2(F.gelu(self.linear_1(context), approximate="tanh"))  # type: ignore[no-any-return]
