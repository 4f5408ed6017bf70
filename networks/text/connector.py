"""Connector: features of the valid tokens, filled up with learned registers → context (text.md section 6)."""

# B batch, T feature tokens, S context tokens (S >= T), R registers, D width, H heads, d head width
from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from ..attention import attention
from ..operations import Operations, torch_operations
from .rope import connector_tables, rotate

EPS = 1e-6


@dataclass(frozen=True, kw_only=True)
class ConnectorConfig:
    """One connector; `gated`: every head's output is weighted by a gate computed from the block's input."""

    num_layers: int
    num_heads: int
    head_dim: int
    num_registers: int
    gated: bool
    ff_bias: bool = True
    max_position: int = 4096

    @property
    def width(self) -> int:
        return self.num_heads * self.head_dim


class Connector(nn.Module):
    """A small bidirectional transformer; state dict names are those after `…_embeddings_connector.`."""

    def __init__(self, config: ConnectorConfig, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        self.config = config
        self.learnable_registers = nn.Parameter(torch.empty(config.num_registers, config.width))
        self.transformer_1d_blocks = nn.ModuleList(
            ConnectorBlock(config, operations=operations) for _ in range(config.num_layers)
        )

    def forward(self, features: Tensor, mask: Tensor, *, length: int) -> Tensor:
        """Context (B, S = length, D); every position of it is to be attended.

        features (B, T, D); mask (B, T), 0 on padding, which may lie anywhere.
        Raises ValueError when length is no multiple of the number of registers or there are more tokens than that.
        """
        x = fill_with_registers(features, mask, self.learnable_registers, length)
        cos, sin = connector_tables(
            self.config.width, self.config.num_heads, length, max_position=self.config.max_position
        )
        cos, sin = cos.to(x), sin.to(x)
        for block in self.transformer_1d_blocks:
            x = block(x, cos, sin)
        return _rms(x)


class Connectors(nn.Module):
    """Both connectors of a model, for features that come without them."""

    def __init__(self, video: Connector, audio: Connector, *, positions: int) -> None:
        """positions: of a context, rounded up to a multiple of the registers."""
        super().__init__()
        self.video, self.audio, self.positions = video, audio, positions

    def forward(self, features: Tensor) -> Tensor:
        """Contexts (B, S, Dv + Da) of features (B, T, Dv + Da), or (B, T, D) for both; all T tokens are valid.

        More where the prompt is longer than `positions`. Raises ValueError for features of another width.
        """
        widths, found = [self.video.config.width, self.audio.config.width], features.shape[-1]
        if found == sum(widths):
            video, audio = torch.split(features, widths, dim=-1)
        elif set(widths) == {found}:
            video = audio = features
        else:
            raise ValueError(f"text features: expected a width of {' + '.join(map(str, widths))}, found {found}")
        mask = torch.ones(features.shape[:2], dtype=torch.int64, device=features.device)
        registers = self.video.config.num_registers
        length = -(-max(features.shape[1], self.positions) // registers) * registers
        return torch.cat([self.video(video, mask, length=length), self.audio(audio, mask, length=length)], dim=-1)


def fill_with_registers(features: Tensor, mask: Tensor, registers: Tensor, length: int) -> Tensor:
    """(B, S = length, D): the valid tokens in their order, then registers[position mod R] to the end."""
    tokens, count = features.shape[1], registers.shape[0]
    if length % count or tokens > length:
        raise ValueError(
            f"context length: expected a multiple of the {count} registers with room for {tokens} tokens, "
            f"found {length}; take the next multiple of {count}"
        )
    filler = repeat(registers.to(features), "r d -> b (k r) d", b=features.shape[0], k=length // count)
    order = (mask == 0).to(torch.uint8).argsort(dim=1, stable=True)
    front = features.take_along_dim(order[..., None], dim=1)
    valid = torch.arange(tokens, device=features.device) < (mask != 0).sum(dim=1, keepdim=True)  # B T
    return torch.cat((torch.where(valid[..., None], front, filler[:, :tokens]), filler[:, tokens:]), dim=1)


class ConnectorBlock(nn.Module):
    """x + attention(rms x), then x + mlp(rms x)."""

    def __init__(self, config: ConnectorConfig, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        self.attn1 = ConnectorAttention(config, operations=operations)
        self.ff = ConnectorMLP(config, operations=operations)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.attn1(_rms(x), cos, sin)
        x = x + self.ff(_rms(x))
        return x


class ConnectorAttention(nn.Module):
    """Full attention; queries and keys are normed over the whole width, before the heads are split."""

    def __init__(self, config: ConnectorConfig, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        width = config.width
        self.head_dim = config.head_dim
        self.to_q = operations.Linear(width, width)
        self.to_k = operations.Linear(width, width)
        self.to_v = operations.Linear(width, width)
        self.q_norm = operations.RMSNorm(width, eps=EPS)
        self.k_norm = operations.RMSNorm(width, eps=EPS)
        self.to_gate_logits = operations.Linear(width, config.num_heads) if config.gated else None
        self.to_out = nn.Sequential(operations.Linear(width, width))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        q = rotate(self._heads(self.q_norm(self.to_q(x))), cos, sin)
        k = rotate(self._heads(self.k_norm(self.to_k(x))), cos, sin)
        out = attention(q, k, self._heads(self.to_v(x)))
        if self.to_gate_logits is not None:
            gates = 2 * self.to_gate_logits(x).sigmoid()
            out = out * rearrange(gates, "b s h -> b h s 1")
        y: Tensor = self.to_out(rearrange(out, "b h s d -> b s (h d)"))
        return y

    def _heads(self, x: Tensor) -> Tensor:
        return rearrange(x, "b s (h d) -> b h s d", d=self.head_dim)


class ConnectorMLP(nn.Module):
    """Two linears with gelu between; `net` has the published numbering 0 and 2."""

    def __init__(self, config: ConnectorConfig, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        width, bias = config.width, config.ff_bias
        inner = GeluLinear(width, 4 * width, bias=bias, operations=operations)
        outer = operations.Linear(4 * width, width, bias=bias)
        self.net = nn.Sequential(OrderedDict([("0", inner), ("2", outer)]))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x)
        return y


class GeluLinear(nn.Module):
    """gelu_tanh( proj(x) )"""

    def __init__(self, width: int, inner: int, *, bias: bool, operations: Operations = torch_operations) -> None:
        super().__init__()
        self.proj = operations.Linear(width, inner, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.proj(x), approximate="tanh")


def _rms(x: Tensor) -> Tensor:
    return F.rms_norm(x, x.shape[-1:], eps=EPS)
