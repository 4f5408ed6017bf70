"""Duration head of LTX-2.5: the contexts of a prompt → how many seconds its clip should last (text.md section 10)."""

# B batch, S context tokens (of both modalities), D hidden width, H heads, d head width, Q learned queries
from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from ..attention import attention
from ..operations import Operations, torch_operations


@dataclass(frozen=True, kw_only=True)
class DurationHeadConfig:
    """Sizes; video_width and audio_width are those of the two contexts."""

    video_width: int
    audio_width: int
    hidden_size: int
    mlp_size: int
    num_queries: int
    num_heads: int


class DurationHead(nn.Module):
    """Attention pooling and a small MLP; state dict names are those after `duration_head.`."""

    def __init__(self, config: DurationHeadConfig, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        width = config.hidden_size
        self.config = config
        self.video_input_proj = operations.Linear(config.video_width, width)
        self.audio_input_proj = operations.Linear(config.audio_width, width)
        self.video_modality_emb = nn.Parameter(torch.empty(width))
        self.audio_modality_emb = nn.Parameter(torch.empty(width))
        self.attention_pooler = AttentionPooler(config, operations=operations)
        self.mlp_hidden = operations.Linear(config.num_queries * width, config.mlp_size)
        self.mlp_out = operations.Linear(config.mlp_size, 1)

    def forward(self, video_context: Tensor | None, audio_context: Tensor | None) -> Tensor:
        """Seconds (B,), float32, from finished contexts (B, S, Dv) and (B, S, Da), all of whose tokens count.

        Either context may be None (text to audio has no video context). Raises ValueError when both are.
        """
        tokens = []
        if video_context is not None:
            tokens.append(self.video_input_proj(video_context) + self.video_modality_emb.to(video_context))
        if audio_context is not None:
            tokens.append(self.audio_input_proj(audio_context) + self.audio_modality_emb.to(audio_context))
        if not tokens:
            raise ValueError("duration head: expected a video context, an audio context or both, found none; give one")
        pooled = rearrange(self.attention_pooler(torch.cat(tokens, dim=1)), "b q d -> b (q d)")
        logarithm: Tensor = self.mlp_out(F.gelu(self.mlp_hidden(pooled), approximate="tanh"))
        return rearrange(logarithm, "b 1 -> b").float().exp()


class AttentionPooler(nn.Module):
    """Learned queries that gather from all tokens."""

    def __init__(self, config: DurationHeadConfig, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        self.query_tokens = nn.Parameter(torch.empty(config.num_queries, config.hidden_size))
        self.cross_attn = PackedAttention(config.hidden_size, config.num_heads, operations=operations)

    def forward(self, tokens: Tensor) -> Tensor:
        queries = repeat(self.query_tokens.to(tokens), "q d -> b q d", b=tokens.shape[0])
        pooled: Tensor = self.cross_attn(queries, tokens)
        return pooled  # B Q D


class PackedAttention(nn.Module):
    """Attention whose query, key and value weights lie in one tensor, which therefore belongs to no layer."""

    def __init__(self, width: int, num_heads: int, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = operations.Linear(width, width)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        weights, biases = self.in_proj_weight.to(tokens).chunk(3), self.in_proj_bias.to(tokens).chunk(3)
        q, k, v = (
            rearrange(F.linear(x, weight, bias), "b s (h d) -> b h s d", h=self.num_heads)
            for x, weight, bias in zip((queries, tokens, tokens), weights, biases, strict=True)
        )
        y: Tensor = self.out_proj(rearrange(attention(q, k, v), "b h q d -> b q (h d)"))
        return y
