"""Text guidance on predictions of the clean latent (spec sampling.md section 7)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """Guidance of one stream. cfg 1 means none, and needs no extra pass."""

    cfg: float = 1.0

    @property
    def needs_unconditioned(self) -> bool:
        return not math.isclose(self.cfg, 1.0, rel_tol=1e-9)


def guide(conditioned: Tensor, unconditioned: Tensor | None, guidance: Guidance) -> Tensor:
    """c + (cfg - 1)(c - u) in float32, in the dtype of `conditioned`; all (B, T, C), predictions of x0."""
    if not guidance.needs_unconditioned:
        return conditioned
    assert unconditioned is not None, "the unconditioned pass did not run"
    c, u = conditioned.float(), unconditioned.float()
    return (c + (guidance.cfg - 1.0) * (c - u)).to(conditioned.dtype)
