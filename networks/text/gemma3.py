"""Gemma 3 text decoder, the text encoder of LTX-2 and LTX-2.3 (text.md section 3)."""

# B batch, T tokens, D hidden width, H query heads, K key/value heads, G = H/K query heads a key head, d head width
from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from ..attention import attention
from ..operations import Operations, torch_operations
from .gemma import GemmaDecoder, LayerCache, Surroundings
from .gemma_config import GemmaConfig, LayerConfig
from .rope import rotate


class Gemma3(GemmaDecoder):
    """The text stack; its state dict has the published names after `language_model.model.`."""

    def __init__(self, config: GemmaConfig, *, operations: Operations = torch_operations) -> None:
        super().__init__(
            config,
            layers=[Gemma3Layer(config, layer, operations=operations) for layer in config.layers],
            norm=Gemma3RMSNorm(config.hidden_size, eps=config.rms_norm_eps),
            operations=operations,
        )


class Gemma3RMSNorm(nn.Module):
    """x / rms(x) · (1 + weight) over the last axis; the result is float32."""

    def __init__(self, width: int, *, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        weight = 1 + self.weight.to(x.device, torch.float32)
        return F.rms_norm(x.float(), x.shape[-1:], weight, self.eps)


class Gemma3Layer(nn.Module):
    """One decoder layer: attention and MLP, each normed before and after, each added to the float32 residual stream."""

    def __init__(self, config: GemmaConfig, layer: LayerConfig, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.rms_norm_eps
        self.self_attn = Gemma3Attention(width, layer, eps=eps, operations=operations)
        self.mlp = GatedMLP(width, config.intermediate_size, operations=operations)
        self.input_layernorm = Gemma3RMSNorm(width, eps=eps)
        self.post_attention_layernorm = Gemma3RMSNorm(width, eps=eps)
        self.pre_feedforward_layernorm = Gemma3RMSNorm(width, eps=eps)
        self.post_feedforward_layernorm = Gemma3RMSNorm(width, eps=eps)

    def forward(self, x: Tensor, around: Surroundings, cache: LayerCache | None = None) -> Tensor:
        dtype = around.bias.dtype
        x = x + self.post_attention_layernorm(self.self_attn(self.input_layernorm(x).to(dtype), around, cache))
        x = x + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x).to(dtype)))
        return x  # B T D


class Gemma3Attention(nn.Module):
    """Grouped-query attention with normed and rotated queries and keys."""

    def __init__(
        self, width: int, layer: LayerConfig, *, eps: float, operations: Operations = torch_operations
    ) -> None:
        super().__init__()
        self.layer = layer
        query_width, key_width = layer.num_heads * layer.head_dim, layer.num_kv_heads * layer.head_dim
        self.q_proj = operations.Linear(width, query_width, bias=False)
        self.k_proj = operations.Linear(width, key_width, bias=False)
        self.v_proj = operations.Linear(width, key_width, bias=False)
        self.o_proj = operations.Linear(query_width, width, bias=False)
        self.q_norm = Gemma3RMSNorm(layer.head_dim, eps=eps)
        self.k_norm = Gemma3RMSNorm(layer.head_dim, eps=eps)

    def forward(self, x: Tensor, around: Surroundings, cache: LayerCache | None = None) -> Tensor:
        q = rearrange(self.q_proj(x), "b t (h d) -> b h t d", d=self.layer.head_dim)
        k = rearrange(self.k_proj(x), "b t (k d) -> b k t d", d=self.layer.head_dim)
        v = rearrange(self.v_proj(x), "b t (k d) -> b k t d", d=self.layer.head_dim)
        q = rotate(self.q_norm(q), around.cos, around.sin).to(v)
        k = rotate(self.k_norm(k), around.cos, around.sin).to(v)
        if cache is not None:
            k, v = cache.extend(k, v)
        k, v = self._serve_all_queries(k), self._serve_all_queries(v)
        out = attention(q, k, v, bias=around.bias, scale=self.layer.scale)
        y: Tensor = self.o_proj(rearrange(out, "b h t d -> b t (h d)"))
        return y

    def _serve_all_queries(self, kv: Tensor) -> Tensor:
        return repeat(kv, "b k t d -> b (k g) t d", g=self.layer.num_heads // self.layer.num_kv_heads)


class GatedMLP(nn.Module):
    """down( gelu_tanh(gate(x)) · up(x) )"""

    def __init__(self, width: int, inner: int, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        self.gate_proj = operations.Linear(width, inner, bias=False)
        self.up_proj = operations.Linear(width, inner, bias=False)
        self.down_proj = operations.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down_proj(F.gelu(self.gate_proj(x), approximate="tanh") * self.up_proj(x))
        return y
