"""Gradient estimation: Euler's rule along a velocity that is extrapolated from the last two (spec sampling.md 6.4)."""

from __future__ import annotations

from torch import Tensor

from ..conversions import velocity_from_x0
from ..denoiser import Denoise, Denoised
from ..streams import Streams
from .euler import euler_step
from .loop import StepCallback, arrived, run_steps


def sample_gradient_estimation(
    denoise: Denoise,
    latents: Streams[Tensor],
    sigmas: Tensor,
    callback: StepCallback | None = None,
    *,
    gamma: float = 2.0,
) -> Streams[Tensor]:
    """Latents (B, T, C) along `sigmas` (K + 1,). gamma: 1 is Euler's rule, 2 the full extrapolation.

    Raises as `run_steps`.
    """
    previous: Streams[Tensor] = Streams()

    def advance(latents: Streams[Tensor], denoised: Denoised, sigma: Tensor, next_sigma: Tensor) -> Streams[Tensor]:
        nonlocal previous
        if next_sigma == 0:
            return arrived(latents, denoised)
        velocity = latents.map(lambda x, x0: velocity_from_x0(x, x0, sigma), denoised.x0)

        def step(x: Tensor, x0: Tensor, v: Tensor, before: Tensor | None) -> Tensor:
            if before is not None:
                extrapolated = gamma * (v.float() - before.float()) + before.float()
                x0 = (x.float() - extrapolated * sigma).to(x.dtype)
            return euler_step(x, x0, sigma, next_sigma)

        stepped = latents.map(step, denoised.x0, velocity, previous)
        previous = velocity
        return stepped

    return run_steps(denoise, latents, sigmas, callback, advance)
