"""Euler's rule (spec sampling.md 6.1)."""

from __future__ import annotations

from torch import Tensor

from ..conversions import velocity_from_x0
from ..denoiser import Denoise, Denoised
from ..streams import Streams
from .loop import StepCallback, run_steps


def euler_step(x: Tensor, x0: Tensor, sigma: Tensor, next_sigma: Tensor) -> Tensor:
    """x + v (s' - s) with v = (x - x0) / s rounded to the dtype of x; s' = 0 gives x0, up to rounding."""
    velocity = velocity_from_x0(x, x0, sigma)
    return (x.float() + velocity.float() * (next_sigma - sigma)).to(x.dtype)


def sample_euler(
    denoise: Denoise, latents: Streams[Tensor], sigmas: Tensor, callback: StepCallback | None = None
) -> Streams[Tensor]:
    """Latents (B, T, C) along `sigmas` (K + 1,), the default everywhere. Raises as `run_steps`."""

    def advance(latents: Streams[Tensor], denoised: Denoised, sigma: Tensor, next_sigma: Tensor) -> Streams[Tensor]:
        return latents.map(lambda x, x0: euler_step(x, x0, sigma, next_sigma), denoised.x0)

    return run_steps(denoise, latents, sigmas, callback, advance)
