"""Timestep embedders and the shifts, scales and gates made from them (spec page transformer, sections 5 and 7).

A call has few distinct timesteps, so embeddings are made once for each distinct value and looked up by token where
they are applied, one row at a time: the (B, T, 9*D) table of the formulae never exists.
"""

# B batch, T tokens, U distinct timesteps, R rows (of a modulation table), D stream width
from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..operations import Operations, torch_operations

SINUSOIDS = 256
ALL_TOKENS = slice(None)
NORM_ELEMENTS = 2**18  # that a norm takes at once on a CPU: its float32 copies stay in the cache


@dataclass(frozen=True, kw_only=True)
class Timesteps:
    """Distinct timesteps of a stream: `values` (U) float32, `index` (B, T) into them.

    index None: `values` holds one entry a sample (or one for all), shared by all its tokens.
    """

    values: Tensor
    index: Tensor | None


def distinct_timesteps(timesteps: Tensor) -> Timesteps:
    """From timesteps (B, T, 1) or (B, 1, 1). Synchronises once or twice with the device; (B, 1, 1) never does."""
    timesteps = timesteps[..., 0]  # B T
    if timesteps.shape[1] == 1 or bool((timesteps == timesteps[:, :1]).all()):
        return Timesteps(values=timesteps[:, 0], index=None)
    values, index = torch.unique(timesteps, return_inverse=True)
    return Timesteps(values=values, index=index)


@dataclass(frozen=True, kw_only=True)
class Modulation:
    """Rows of shifts, scales and gates: `values` (U, R, D), `index` as in Timesteps."""

    values: Tensor
    index: Tensor | None

    def plus(self, table: Tensor) -> Modulation:
        """With a table (R, D) added to every distinct entry, in the dtype of `values`."""
        return Modulation(values=self.values + table.to(self.values), index=self.index)

    def row(self, row: int, tokens: slice | None = None) -> Tensor:
        """Row `row` for some tokens, or all: (B, tokens, D), or broadcasting (B or 1, 1, D)."""
        return self._spread(self.values[:, row], tokens)

    def scale(self, row: int, tokens: slice | None = None) -> Tensor:
        """1 + row, added before it is spread over the tokens."""
        return self._spread(1 + self.values[:, row], tokens)

    def _spread(self, values: Tensor, tokens: slice | None) -> Tensor:
        if self.index is None:
            return values[:, None]
        return F.embedding(self.index if tokens is None else self.index[:, tokens], values)


def table_modulation(table: Tensor, like: Tensor) -> Modulation:
    """A table (R, D) alone, the same for all samples and tokens, in the dtype and on the device of `like`."""
    return Modulation(values=table.to(like)[None], index=None)


def normalise(x: Tensor, eps: float, rows: Modulation | None = None, *, scale: int = 0, shift: int = 0) -> Tensor:
    """x / rms(x) over the features, without a weight; with `rows`: times 1 + row `scale`, plus row `shift`."""

    def normed(tokens: slice) -> Tensor:
        part = F.rms_norm(x[:, tokens], (x.shape[-1],), eps=eps)
        return part if rows is None else torch.addcmul(rows.row(shift, tokens), part, rows.scale(scale, tokens))

    return by_tokens(normed, x)


def by_tokens(part: Callable[[slice], Tensor], x: Tensor, *, overwrite: bool = False) -> Tensor:
    """part(all tokens), like x (B, T, D); on a CPU, without gradients, made and written in pieces.

    There torch composes a norm of several float32 maps, each twice as large as x in bfloat16, and they would be the
    peak of a block. overwrite: the result may take the place of x, of which `part` must read only its own tokens.
    """
    size = max(1, NORM_ELEMENTS // max(1, x.shape[0] * x.shape[2]))
    if x.device.type != "cpu" or torch.is_grad_enabled() or x.shape[1] <= size:
        return part(ALL_TOKENS)
    out = x if overwrite else torch.empty_like(x)
    for tokens in token_pieces(x.shape[1], size):
        out[:, tokens] = part(tokens)
    return out


def token_pieces(tokens: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, tokens)) for start in range(0, tokens, size))


def sinusoids(timesteps: Tensor) -> Tensor:
    """256 features of scaled timesteps (U): cosines first, float32 (U, 256)."""
    angles = timesteps.float()[:, None] * _sinusoid_grid(timesteps.device)
    return torch.cat((angles.cos(), angles.sin()), dim=-1)


@lru_cache(maxsize=16)
def _sinusoid_grid(device: torch.device) -> Tensor:
    """128 frequencies; made on the CPU, where every device gets the same, and copied once, because a copy waits."""
    half = SINUSOIDS // 2
    with torch.inference_mode(False):
        grid = torch.exp(-math.log(10000.0) * torch.arange(half, dtype=torch.float32, device="cpu") / half)
        return grid.to(device)


class TimestepEmbedder(nn.Module):
    """MLP over the sinusoids."""

    def __init__(self, width: int, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        self.linear_1 = operations.Linear(SINUSOIDS, width)
        self.linear_2 = operations.Linear(width, width)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(features)))  # type: ignore[no-any-return]


class _Embedding(nn.Module):
    """Only a name on the way: `emb.timestep_embedder`."""

    def __init__(self, width: int, *, operations: Operations) -> None:
        super().__init__()
        self.timestep_embedder = TimestepEmbedder(width, operations=operations)


class AdaLayerNormSingle(nn.Module):
    """Scaled timesteps -> `rows` modulation rows and the embedding below them."""

    def __init__(self, width: int, rows: int, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        self.rows = rows
        self.emb = _Embedding(width, operations=operations)
        self.linear = operations.Linear(width, rows * width)

    def forward(self, timesteps: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """timesteps (U) float32, multiplied by their scale -> rows (U, R, D) and embedding (U, D) in `dtype`."""
        embedded = self.emb.timestep_embedder(sinusoids(timesteps).to(dtype))
        rows = self.linear(F.silu(embedded))
        return rearrange(rows, "U (R D) -> U R D", R=self.rows), embedded
