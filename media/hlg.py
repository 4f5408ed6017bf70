"""Scene-linear light as a BT.2100 HLG signal in BT.2020 (spec media_io.md 4.4)."""

from __future__ import annotations

from functools import partial
from math import exp

import torch
from torch import Tensor

from .colour import BT2020, Planes, rgb_to_10bit
from .primaries import Primaries, rotate

A, B, C = 0.17883277, 0.28466892, 0.55991073
WHITE_SIGNAL = 0.75  # the signal of diffuse white, scene-linear 1


def hlg_signal(linear: Tensor, source: Primaries = "rec709", *, rolloff: float | None = None) -> Tensor:
    """Scene-linear RGB (..., 3) -> HLG signal in [0, 1] on BT.2020 primaries, float32.

    Light above diffuse white rolls off towards 1; `rolloff` is the steepness, by default the one without a kink.
    NaN becomes black.
    """
    white = (exp((WHITE_SIGNAL - C) / A) + B) / 12
    k = white / (1 - white) if rolloff is None else rolloff
    light = rotate(linear, source, "rec2020").nan_to_num_(nan=0.0).clamp_(min=0)
    scene = torch.where(light <= 1, light * white, 1 - (1 - white) * torch.exp(-k * (light - 1)))
    log = A * torch.log((12 * scene - B).clamp(min=1e-12)) + C
    return torch.where(scene <= 1 / 12, (3 * scene).sqrt(), log).clamp(0, 1)


def hlg_planes(linear: Tensor, source: Primaries = "rec709") -> Planes:
    """Scene-linear frames (F, H, W, 3) -> 10-bit limited-range BT.2020 4:2:0 codes. ValueError for odd sizes."""
    return rgb_to_10bit(linear, BT2020, signal=partial(hlg_signal, source=source))
