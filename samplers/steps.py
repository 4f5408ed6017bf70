"""Step rules. Each is a function `(denoise, latents, sigmas, callback) -> latents` on joint audio-video latents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from .conversions import velocity_from_x0
from .denoiser import Denoise
from .schedules import check_sigmas
from .streams import Streams


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What a callback sees after a step: its index of `total`, its sigma, the predicted clean latents."""

    index: int
    total: int
    sigma: float
    x0: Streams[Tensor]


StepCallback = Callable[[StepReport], None]


def euler_step(x: Tensor, x0: Tensor, sigma: Tensor, next_sigma: Tensor) -> Tensor:
    """x + v (s' - s) with v = (x - x0) / s rounded to the dtype of x; s' = 0 gives x0 (spec sampling.md 6.1)."""
    velocity = velocity_from_x0(x, x0, sigma)
    return (x.float() + velocity.float() * (next_sigma - sigma)).to(x.dtype)


def sample_euler(
    denoise: Denoise, latents: Streams[Tensor], sigmas: Tensor, callback: StepCallback | None = None
) -> Streams[Tensor]:
    """Euler's rule along `sigmas` (K + 1,), the default everywhere.

    Raises ValueError for sigmas that do not fall, and FloatingPointError naming the step where the network gives
    NaN or infinity: a broken latent never goes on.
    """
    values = check_sigmas(sigmas)
    total = len(values) - 1
    for index, (sigma, next_sigma) in enumerate(pairwise(values)):
        x0 = denoise(latents, sigma)
        refuse_non_finite(x0, index, total)

        def step(x: Tensor, clean: Tensor, s: Tensor = sigma, s_next: Tensor = next_sigma) -> Tensor:
            return euler_step(x, clean, s, s_next)

        latents = latents.map(step, x0)
        if callback is not None:
            callback(StepReport(index=index, total=total, sigma=float(sigma), x0=x0))
    return latents


def refuse_non_finite(x0: Streams[Tensor], index: int, total: int) -> None:
    for name, tensor in (("video", x0.video), ("audio", x0.audio)):
        if tensor is not None and not bool(torch.isfinite(tensor).all()):
            raise FloatingPointError(
                f"step {index + 1} of {total}: the network gave NaN or infinity in the {name} latent; "
                "try another precision, or check that the files belong together"
            )
