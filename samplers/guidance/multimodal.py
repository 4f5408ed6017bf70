"""Guidance of one stream: text, perturbed self-attention, isolation from the other stream, rescale (sampling.md 7)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .passes import Blocks, PassName
from .text_rules import Cfg, TextRule


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """How one stream is guided. The default is no guidance, and needs no extra pass.

    cfg         scale of the text's pull away from the negative prompt; 1: none
    stg         scale of the pull away from a prediction with self-attention skipped in `stg_blocks`; 0: none
    modality    scale of the pull away from a prediction without the other stream; 1: none
    rescale     0 to 1: how far the guided prediction gets back the standard deviation of the conditioned one
    skip        of skip + 1 steps the last `skip` reuse the stream's last prediction; 0: none do
    text_rule   how `cfg` is applied
    """

    cfg: float = 1.0
    stg: float = 0.0
    stg_blocks: Blocks = "all"
    modality: float = 1.0
    rescale: float = 0.0
    skip: int = 0
    text_rule: TextRule = Cfg()

    def __post_init__(self) -> None:
        for name in ("cfg", "stg", "modality", "rescale"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name}: expected a finite number, found {getattr(self, name)}")
        if self.skip < 0:
            raise ValueError(f"skip: expected 0 or more steps, found {self.skip}")
        if self.stg_blocks != "all" and any(block < 0 for block in self.stg_blocks):
            raise ValueError(f"stg_blocks: expected block indices from 0, found {sorted(self.stg_blocks)}")

    def wants(self, name: PassName) -> bool:
        """Whether this stream needs the pass."""
        if name == "unconditioned":
            return not math.isclose(self.cfg, self.text_rule.neutral, rel_tol=1e-9)
        if name == "perturbed":  # skipping in no block perturbs nothing, so the difference would be 0
            return self.stg != 0 and bool(self.stg_blocks)
        if name == "isolated":
            return not math.isclose(self.modality, 1.0, rel_tol=1e-9)
        return True

    def skips(self, step: int) -> bool:
        """Whether the step of this index, counted from 0, reuses the last prediction (spec sampling.md 7.4)."""
        return self.skip > 0 and step % (self.skip + 1) != 0

    def at(self, sigma: float) -> Guidance:
        return self

    def sets(self) -> tuple[Guidance, ...]:
        return (self,)


class GuidanceAt(Protocol):
    """Guidance that may follow sigma."""

    def at(self, sigma: float) -> Guidance: ...

    def sets(self) -> tuple[Guidance, ...]:
        """All that `at` may return."""
        ...


@dataclass(frozen=True)
class GuidanceBySigma:
    """Ranges of sigma with a guidance each: of `upper`, the smallest key that is at least sigma counts.

    Above all keys it is the largest one (spec sampling.md 7.5). ValueError without any key.
    """

    upper: Mapping[float, Guidance]

    def __post_init__(self) -> None:
        if not self.upper:
            raise ValueError("sigma ranges: expected at least one, found none")

    def at(self, sigma: float) -> Guidance:
        # Sigmas are float32 numbers: a bound of 0.1 must hold the 0.1 of a schedule, which is a little more.
        reached = [bound for bound in self.upper if _as_float32(bound) >= sigma]
        return self.upper[min(reached, default=max(self.upper))]

    def sets(self) -> tuple[Guidance, ...]:
        return tuple(self.upper.values())

    @classmethod
    def split(cls, sigma: float, *, high: GuidanceAt, low: GuidanceAt) -> GuidanceBySigma:
        """`low` at `sigma` and below, `high` above it; both may have ranges of their own."""
        below = {bound: low.at(bound) for bound in (*_bounds(low), sigma) if bound <= sigma}
        above = {bound: high.at(bound) for bound in (*_bounds(high), max(sigma, 1.0)) if bound > sigma}
        return cls(below | above)


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Predictions of x0 of one stream, (B, T, C), by pass; None where the pass did not run."""

    conditioned: Tensor
    unconditioned: Tensor | None = None
    perturbed: Tensor | None = None
    isolated: Tensor | None = None


def guide(predictions: Predictions, guidance: Guidance, running: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    """The guided prediction (B, T, C), in the dtype of the conditioned one, and the text rule's `running`.

    g = c + text rule(c, u) + stg (c - p) + (modality - 1)(c - o) in float32, then g * (rescale std(c) / std(g)
    + 1 - rescale), with unbiased std over the whole tensor, appended tokens included (spec sampling.md 7.1).
    """
    terms, running = _terms(predictions, guidance, running)
    if not terms:
        return predictions.conditioned, running
    c = predictions.conditioned.float()
    guided = c + sum(terms)
    if guidance.rescale != 0:
        guided = guided * (guidance.rescale * c.std() / guided.std() + (1.0 - guidance.rescale))
    return guided.to(predictions.conditioned.dtype), running


def _terms(predictions: Predictions, guidance: Guidance, running: Tensor | None) -> tuple[list[Tensor], Tensor | None]:
    c, terms = predictions.conditioned.float(), []
    if guidance.wants("unconditioned"):
        assert predictions.unconditioned is not None, "the unconditioned pass did not run"
        delta, running = guidance.text_rule.delta(c, predictions.unconditioned.float(), guidance.cfg, running)
        terms.append(delta)
    if guidance.stg != 0 and predictions.perturbed is not None:
        terms.append(guidance.stg * (c - predictions.perturbed.float()))
    if guidance.wants("isolated") and predictions.isolated is not None:
        terms.append((guidance.modality - 1.0) * (c - predictions.isolated.float()))
    return terms, running


def _bounds(guidance: GuidanceAt) -> tuple[float, ...]:
    return tuple(guidance.upper) if isinstance(guidance, GuidanceBySigma) else ()


def _as_float32(value: float) -> float:
    return float(torch.tensor(value, dtype=torch.float32))
