"""The loop that step rules share: evaluate, refuse a broken result, advance, report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ..denoiser import Denoise, Denoised
from ..schedules import check_sigmas
from ..streams import Streams


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What a callback sees after a step: its index of `total`, its sigma, the predicted clean latents, where it led."""

    index: int
    total: int
    sigma: float
    x0: Streams[Tensor]
    latents: Streams[Tensor]


StepCallback = Callable[[StepReport], "Streams[Tensor] | None"]
"""Called after each step; the latents that it returns, if any, are those that the run goes on with."""
# (latents, prediction at sigma, sigma, next sigma) -> latents at the next sigma; the sigmas are numbers on the CPU
Advance = Callable[[Streams[Tensor], Denoised, Tensor, Tensor], Streams[Tensor]]


def run_steps(
    denoise: Denoise, latents: Streams[Tensor], sigmas: Tensor, callback: StepCallback | None, advance: Advance
) -> Streams[Tensor]:
    """One evaluation a step along `sigmas` (K + 1,), float32.

    Raises ValueError for sigmas that do not fall, and FloatingPointError naming the step where the network gives
    NaN or infinity: a broken latent never goes on.
    """
    values = check_sigmas(sigmas)
    total = len(values) - 1
    for index, (sigma, next_sigma) in enumerate(pairwise(values)):
        denoised = denoise(latents, sigma, index)
        refuse_non_finite(denoised, index, total)
        latents = advance(latents, denoised, sigma, next_sigma)
        latents = report(callback, index, total, sigma, denoised, latents)
    return latents


def report(
    callback: StepCallback | None, index: int, total: int, sigma: Tensor, denoised: Denoised, latents: Streams[Tensor]
) -> Streams[Tensor]:
    """Tells the callback of a step; the latents to go on with."""
    if callback is None:
        return latents
    changed = callback(StepReport(index=index, total=total, sigma=float(sigma), x0=denoised.x0, latents=latents))
    return latents if changed is None else changed


def refuse_non_finite(denoised: Denoised, index: int, total: int) -> None:
    """FloatingPointError, naming the step, for NaN or infinity in what a step is made from."""
    predictions = [denoised.x0] if denoised.unconditioned is None else [denoised.x0, denoised.unconditioned]
    for name, tensor in ((name, tensor) for streams in predictions for name, tensor in vars(streams).items()):
        if tensor is not None and not bool(torch.isfinite(tensor).all()):
            raise FloatingPointError(
                f"step {index + 1} of {total}: the network gave NaN or infinity in the {name} latent; "
                "try another precision, or check that the files belong together"
            )


def arrived(latents: Streams[Tensor], denoised: Denoised) -> Streams[Tensor]:
    """The end of a step to sigma 0, for rules that land on the prediction itself."""
    return latents.map(lambda x, x0: x0.to(x.dtype), denoised.x0)


def check_at_least_zero(**values: float) -> None:
    for name, value in values.items():
        if not 0 <= value < float("inf"):
            raise ValueError(f"{name}: expected 0 or more, found {value}")
