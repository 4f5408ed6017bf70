"""Strength of self-attention between tokens, kept as two numbers a token (spec conditioning.md section 6).

The matrix [T, T] that the conditioning page builds item by item has only a few distinct regions, and at 4K it would
take gigabytes (spec memory.md section 2). Here it stays a weight and a group for each token; `dense` is the one place
that makes the matrix, whole or a few query rows at a time.
"""

# B batch, T tokens (grid tokens, then appended ones), M tokens of one appended item
from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

GRID = -1  # the group of grid tokens; appended tokens have groups from 0


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentionStrength:
    """How strongly tokens of one stream attend to each other.

    weights  (1 or B, T) float32 in [0, 1]: between an appended token and every grid token, both ways; 1 on the grid
    groups   (T,) int64: GRID, or the group of an appended token. Appended tokens see their own group fully and no
             other one
    """

    weights: Tensor
    groups: Tensor

    def dense(self, rows: slice | None = None) -> Tensor:
        """The matrix (1 or B, rows, T) float32 in [0, 1] of these query rows (all when None)."""
        rows = rows or slice(None)
        query, key = self.groups[rows, None], self.groups[None, :]
        weights = rearrange(self.weights[:, rows], "b q -> b q 1") * rearrange(self.weights, "b k -> b 1 k")
        return torch.where((query == GRID) | (key == GRID), weights, (query == key).to(weights))

    def in_one_group(self) -> AttentionStrength:
        """The same where all appended tokens see each other fully, as ComfyUI's guides do (spec sampling.md 9.3)."""
        return AttentionStrength(weights=self.weights, groups=self.groups.clamp(max=GRID + 1))

    def select(self, index: Tensor) -> AttentionStrength:
        """The strengths among the tokens `index` (K,): their sub-matrix, for a tile of the clip."""
        return AttentionStrength(weights=self.weights[:, index], groups=self.groups[index])


def token_strengths(attention: float | Tensor, tokens: int) -> Tensor | None:
    """What an item was given as its strength, as weights (1 or B, tokens) float32; None for the number 1: no matrix.

    attention: one number, (tokens,) or (B, tokens), all in [0, 1]. Raises ValueError for anything else.
    """
    if not isinstance(attention, Tensor):
        if not 0 <= attention <= 1:
            raise ValueError(f"attention strength: expected a number from 0 to 1, found {attention:g}")
        return None if attention == 1 else torch.full((1, tokens), attention, dtype=torch.float32)
    weights = attention.float()
    if weights.ndim == 1:
        weights = weights[None]
    if weights.ndim != 2 or weights.shape[1] != tokens:
        raise ValueError(
            f"attention strength: expected one weight for each of {tokens} tokens, found shape "
            f"{tuple(attention.shape)}; make it from a mask of the same clip"
        )
    if not bool(((weights >= 0) & (weights <= 1)).all()):
        low, high = float(weights.min()), float(weights.max())
        raise ValueError(f"attention strength: expected weights from 0 to 1, found {low:g} to {high:g}")
    return weights


def extend_strength(
    old: AttentionStrength | None, weights: Tensor | None, *, grid: int, tokens: int, added: int
) -> AttentionStrength | None:
    """Strengths after `added` tokens went behind the `tokens` that were there, `grid` of them grid tokens.

    weights: (1 or B, added), or None for an item without a strength. The first weighted item finds all older appended
    tokens in one group: they saw each other fully until then, and go on doing so. From then on each item is a group
    of its own, so that items do not see each other.
    """
    if weights is None:
        if old is None:
            return None
        weights = old.weights.new_ones(1, added)
    if old is None:
        groups = torch.full((tokens,), GRID, dtype=torch.int64, device=weights.device)
        groups[grid:] = 0
        old = AttentionStrength(weights=weights.new_ones(1, tokens), groups=groups)
    batch = max(len(old.weights), len(weights))
    older = old.weights.expand(batch, -1)
    newer = weights.to(older).expand(batch, -1)
    group = old.groups.new_full((added,), int(old.groups.max()) + 1)
    return AttentionStrength(weights=torch.cat([older, newer], dim=1), groups=torch.cat([old.groups, group]))
