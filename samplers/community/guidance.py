"""Projected guidance as in ComfyUI's LTX node pack: of each channel by itself."""

# c prediction under the positive text, u under the negative one: (B, T, C) float32 tokens of x0
from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

SMALL = 1e-8


@dataclass(frozen=True, kw_only=True)
class ChannelApg:
    """`Apg` with lengths and projections per sample and channel, over all tokens; the official one is per sample.

    A rule for `Guidance.text_rule`. threshold 0: no limit.
    """

    eta: float = 1.0
    threshold: float = 0.0
    neutral: ClassVar[float] = 1.0

    def delta(self, c: Tensor, u: Tensor, scale: float, running: Tensor | None) -> tuple[Tensor, Tensor | None]:
        distance = c - u
        if self.threshold > 0:
            length = distance.square().sum(dim=1, keepdim=True).sqrt()
            distance = distance * torch.clamp(self.threshold / length, max=1.0)
        share = (distance * c).sum(dim=1, keepdim=True) / (c.square().sum(dim=1, keepdim=True) + SMALL)
        along = share * c
        return (scale - 1.0) * (self.eta * along + distance - along), None
