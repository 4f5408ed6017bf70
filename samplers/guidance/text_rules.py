"""Rules of text guidance: what the distance between two predictions adds to one (spec sampling.md 7.6).

A rule is pure: what it has to remember from evaluation to evaluation goes in and comes out as `running`.
"""

# c prediction under the positive text, u under the negative one: (B, …) float32, of x0; all sums are per sample
from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from einops import reduce
from torch import Tensor

SMALL = 1e-8  # added to squared lengths that are divided by


class TextRule(Protocol):
    """`delta` gives what is added to c, and what to hand in as `running` at the next evaluation."""

    neutral: ClassVar[float]
    """The scale at which the rule adds nothing, so that the unconditioned pass need not run."""

    def delta(self, c: Tensor, u: Tensor, scale: float, running: Tensor | None) -> tuple[Tensor, Tensor | None]: ...


@dataclass(frozen=True)
class Cfg:
    """Classifier-free guidance: (scale - 1)(c - u)."""

    neutral: ClassVar[float] = 1.0

    def delta(self, c: Tensor, u: Tensor, scale: float, running: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return (scale - 1.0) * (c - u), None


@dataclass(frozen=True)
class CfgStar:
    """CFG* (CFG-Zero*): u is first scaled to its share in c."""

    neutral: ClassVar[float] = 1.0

    def delta(self, c: Tensor, u: Tensor, scale: float, running: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return (scale - 1.0) * (c - _share(c, u) * u), None


@dataclass(frozen=True, kw_only=True)
class Apg:
    """Adaptive projected guidance: the part of c - u along c is weighted by `eta`, its length held to `threshold`.

    threshold 0: no limit.
    """

    eta: float = 1.0
    threshold: float = 0.0
    neutral: ClassVar[float] = 1.0

    def delta(self, c: Tensor, u: Tensor, scale: float, running: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return (scale - 1.0) * _projected(c, c - u, self.eta, self.threshold), None


@dataclass(frozen=True, kw_only=True)
class MomentumApg:
    """APG on a running sum of the distances, momentum * sum + (c - u). Its factor is `scale`, and 0 turns it off."""

    eta: float = 1.0
    threshold: float = 5.0
    momentum: float = 0.0
    neutral: ClassVar[float] = 0.0

    def delta(self, c: Tensor, u: Tensor, scale: float, running: Tensor | None) -> tuple[Tensor, Tensor | None]:
        total = c - u if running is None else self.momentum * running + (c - u)
        return scale * _projected(c, total, self.eta, self.threshold), total


def _projected(c: Tensor, distance: Tensor, eta: float, threshold: float) -> Tensor:
    if threshold > 0:
        length = _inner(distance, distance).sqrt()
        distance = distance * torch.clamp(threshold / length, max=1.0)  # a length of 0 divides to infinity: no limit
    along = _share(distance, c) * c
    return eta * along + distance - along


def _share(x: Tensor, direction: Tensor) -> Tensor:
    """The factor k of the projection k * direction of x, per sample."""
    return _inner(x, direction) / (_inner(direction, direction) + SMALL)


def _inner(x: Tensor, y: Tensor) -> Tensor:
    """Inner product per sample, (B, 1, …)."""
    total: Tensor = reduce(x * y, "b ... -> b", "sum")
    return total.reshape(-1, *[1] * (x.ndim - 1))
