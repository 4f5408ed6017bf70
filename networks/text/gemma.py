"""What the Gemma text decoders share: scaled embedding, the loop over the layers, visibility, cache, tied head."""

# B batch, T query tokens, S key tokens (S > T only with a cache), D hidden width, V vocabulary rows, d head width
from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..operations import Operations
from .gemma_config import GemmaConfig, LayerConfig
from .rope import decoder_tables

ROWS_PER_PRODUCT = 16384  # of the embedding table; 250 MB in float32 at full size


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a layer needs beside the stream; the same for all layers of one kind."""

    cos: Tensor  # (T, d/2) float32
    sin: Tensor
    bias: Tensor  # (1 or B, 1, T, S), in the compute dtype


class LayerCache:
    """Keys and values of the tokens that one layer has seen, (B, kv heads, S, d)."""

    def __init__(self) -> None:
        self.kv: tuple[Tensor, Tensor] | None = None

    @property
    def length(self) -> int:
        return 0 if self.kv is None else self.kv[0].shape[2]

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append those of new tokens; returns all of them."""
        if self.kv is not None:
            k, v = torch.cat((self.kv[0], k), dim=2), torch.cat((self.kv[1], v), dim=2)
        self.kv = k, v
        return k, v


class GemmaDecoder(nn.Module):
    """A causal text decoder that hands out its hidden states one after the other (text.md sections 3 and 4).

    layers: modules called as layer(x, surroundings, cache), one for each of config.layers; norm: the final norm.
    The residual stream is float32 from the embedding on; linears and attention compute in the dtype of the weights.
    (With bfloat16 weights that is 0.83 % from the float32 result on a tiny Gemma 3, the reference's bfloat16 stream
    1.02 %, and the rounding of the weights alone 0.53 %.)
    """

    def __init__(
        self, config: GemmaConfig, *, layers: Iterable[nn.Module], norm: nn.Module, operations: Operations
    ) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = operations.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(layers)
        self.norm = norm

    def new_cache(self) -> list[LayerCache]:
        """Empty caches, one a layer, for generation with `hidden_states(..., cache=…)`."""
        return [LayerCache() for _ in self.layers]

    def hidden_states(
        self, ids: Tensor, mask: Tensor | None = None, *, cache: list[LayerCache] | None = None
    ) -> Iterator[Tensor]:
        """Yield config.num_states tensors (B, T, D): embedding, residual stream after each layer but the last, and
        the final norm of the stream after the last layer.

        ids (B, T) int64; mask (B, T), 0 on padding, or None where every token is valid (the only case with a cache).
        Positions count padding and continue those in the cache. The states have the dtype of the embedding table; at
        padding they are finite and mean nothing. Only one is alive here at a time.
        """
        assert mask is None or cache is None
        x = self.embed(ids)
        dtype, start = self.embed_tokens.weight.dtype, cache[0].length if cache else 0
        surroundings = {kind: _surroundings(kind, ids, mask, start, dtype) for kind in set(self.config.layers)}
        for i, (kind, layer) in enumerate(zip(self.config.layers, self.layers, strict=True)):
            yield x.to(dtype)
            x = layer(x, surroundings[kind], cache[i] if cache else None)
        yield self.norm(x).to(dtype)

    def embed(self, ids: Tensor) -> Tensor:
        """Scaled embedding (B, T, D) of ids (B, T), float32, on the device of ids."""
        # The table is 2 GB at full size: rows are gathered where it lies, and it need not move to the accelerator.
        x: Tensor = self.embed_tokens(ids.to(self.embed_tokens.weight.device)).to(ids.device)
        scale = torch.tensor(math.sqrt(self.config.hidden_size)).to(x)  # the model knows it rounded to its dtype
        return x.float() * scale

    def logits(self, state: Tensor) -> Tensor:
        """(…, V) float32 from the last hidden state (…, D), on the device of the embedding table, the head too."""
        # Logits in bfloat16 tie, and the first of the best would win: float32, in parts, lest the 2 GB table be copied.
        table, cap = self.embed_tokens.weight, self.config.logit_cap
        state = state.to(table.device, torch.float32)
        logits = torch.cat([F.linear(state, rows.float()) for rows in torch.split(table, ROWS_PER_PRODUCT)], dim=-1)
        return logits if cap is None else cap * (logits / cap).tanh()


def _surroundings(kind: LayerConfig, ids: Tensor, mask: Tensor | None, start: int, dtype: torch.dtype) -> Surroundings:
    stop = start + ids.shape[1]
    positions = torch.arange(start, stop, device=ids.device)
    cos, sin = decoder_tables(
        positions,
        kind.head_dim,
        theta=kind.rope_theta,
        factor=kind.rope_factor,
        rotated_pairs=kind.rotated_pairs,
    )
    return Surroundings(cos=cos, sin=sin, bias=visibility_bias(positions, stop, kind.window, mask, dtype))


def visibility_bias(queries: Tensor, stop: int, window: int | None, mask: Tensor | None, dtype: torch.dtype) -> Tensor:
    """0 where a query may see a key, -inf elsewhere: (1, 1, T, S), or (B, 1, T, S) with a mask (B, S).

    queries (T,): their positions i; keys are at j = 0 … stop-1. Visible: j <= i, j valid, and i - j < window.
    A padding query sees itself as well, lest its softmax be NaN.
    """
    behind = queries[:, None] - torch.arange(stop, device=queries.device)  # i - j
    visible = behind >= 0 if window is None else (behind >= 0) & (behind < window)
    visible = visible[None]
    if mask is not None:
        visible = (visible & mask[:, None, :].bool()) | (behind == 0)
    return torch.zeros(visible.shape, device=queries.device, dtype=dtype).masked_fill(~visible, -math.inf)[:, None]
