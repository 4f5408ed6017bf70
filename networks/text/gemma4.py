"""Gemma 4 text decoder, the text encoder of LTX-2.5 (text.md section 4)."""

# B batch, T tokens, D hidden width, H query heads, K key/value heads, G = H/K query heads a key head, d head width
from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from ..attention import attention
from ..operations import Operations, torch_operations
from .gemma import GemmaDecoder, LayerCache, Surroundings
from .gemma3 import GatedMLP
from .gemma_config import GemmaConfig, LayerConfig
from .rope import rotate


class Gemma4(GemmaDecoder):
    """The text stack; its state dict has the published names after `model.language_model.` (packed: `model.`)."""

    def __init__(self, config: GemmaConfig, *, operations: Operations = torch_operations) -> None:
        super().__init__(
            config,
            layers=[Gemma4Layer(config, layer, operations=operations) for layer in config.layers],
            norm=Gemma4RMSNorm(config.hidden_size, eps=config.rms_norm_eps),
            operations=operations,
        )


class Gemma4RMSNorm(nn.Module):
    """x / rms(x) · weight (not 1 + weight, as in Gemma 3) over the last axis; the result is float32."""

    def __init__(self, width: int, *, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), x.shape[-1:], self.weight.to(x.device, torch.float32), self.eps)


class Gemma4Layer(nn.Module):
    """One decoder layer as in Gemma 3; the whole float32 residual stream is scaled at its end."""

    def __init__(self, config: GemmaConfig, layer: LayerConfig, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.rms_norm_eps
        self.self_attn = Gemma4Attention(width, layer, eps=eps, operations=operations)
        self.mlp = GatedMLP(width, config.intermediate_size, operations=operations)
        self.input_layernorm = Gemma4RMSNorm(width, eps=eps)
        self.post_attention_layernorm = Gemma4RMSNorm(width, eps=eps)
        self.pre_feedforward_layernorm = Gemma4RMSNorm(width, eps=eps)
        self.post_feedforward_layernorm = Gemma4RMSNorm(width, eps=eps)
        self.layer_scalar = nn.Parameter(torch.empty(1))

    def forward(self, x: Tensor, around: Surroundings, cache: LayerCache | None = None) -> Tensor:
        dtype = around.bias.dtype
        x = x + self.post_attention_layernorm(self.self_attn(self.input_layernorm(x).to(dtype), around, cache))
        x = x + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x).to(dtype)))
        return x * self.layer_scalar.to(x)  # B T D


class Gemma4Attention(nn.Module):
    """Grouped-query attention with normed values; where `values_are_keys` there is no projection for them."""

    def __init__(
        self, width: int, layer: LayerConfig, *, eps: float, operations: Operations = torch_operations
    ) -> None:
        super().__init__()
        self.layer, self.eps = layer, eps
        query_width, key_width = layer.num_heads * layer.head_dim, layer.num_kv_heads * layer.head_dim
        self.q_proj = operations.Linear(width, query_width, bias=False)
        self.k_proj = operations.Linear(width, key_width, bias=False)
        self.v_proj = None if layer.values_are_keys else operations.Linear(width, key_width, bias=False)
        self.o_proj = operations.Linear(query_width, width, bias=False)
        self.q_norm = Gemma4RMSNorm(layer.head_dim, eps=eps)
        self.k_norm = Gemma4RMSNorm(layer.head_dim, eps=eps)

    def forward(self, x: Tensor, around: Surroundings, cache: LayerCache | None = None) -> Tensor:
        q, k = self._heads(self.q_proj(x)), self._heads(self.k_proj(x))
        v = k if self.v_proj is None else self._heads(self.v_proj(x))  # the keys before their norm and rotation
        v = F.rms_norm(v.float(), v.shape[-1:], eps=self.eps).to(x)
        q = rotate(self.q_norm(q), around.cos, around.sin).to(x)
        k = rotate(self.k_norm(k), around.cos, around.sin).to(x)
        if cache is not None:
            k, v = cache.extend(k, v)
        k, v = self._serve_all_queries(k), self._serve_all_queries(v)
        out = attention(q, k, v, bias=around.bias, scale=self.layer.scale)
        y: Tensor = self.o_proj(rearrange(out, "b h t d -> b t (h d)"))
        return y

    def _heads(self, x: Tensor) -> Tensor:
        return rearrange(x, "b t (h d) -> b h t d", d=self.layer.head_dim)

    def _serve_all_queries(self, kv: Tensor) -> Tensor:
        return repeat(kv, "b k t d -> b (k g) t d", g=self.layer.num_heads // self.layer.num_kv_heads)
