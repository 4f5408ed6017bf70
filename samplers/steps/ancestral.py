"""Ancestral Euler for rectified flow (spec sampling.md 6.2)."""

from __future__ import annotations

import math

from torch import Tensor

from ..denoiser import Denoise, Denoised
from ..noise import Draw
from ..state import StreamState
from ..streams import Streams
from .given import pull
from .loop import StepCallback, arrived, check_at_least_zero, run_steps


def ancestral_step(
    x: Tensor, x0: Tensor, sigma: float, next_sigma: float, noise: Tensor | None, *, eta: float, s_noise: float = 1.0
) -> Tensor:
    """From sigma s to s' in float32: down to a lower level, then up again with new noise; s' = 0 gives x0.

    x, x0, noise (B, T, C); noise is read only for eta > 0.
    """
    if next_sigma == 0:
        return x0.float()
    down = next_sigma * (1 + (next_sigma / sigma - 1) * eta)
    # As x0 + r (x - x0) and not as r x + (1 - r) x0: where both are equal, it keeps them to the bit.
    lower = x0.float() + (down / sigma) * (x.float() - x0.float())
    if eta == 0:
        return lower
    assert noise is not None
    kept = (1 - next_sigma) / (1 - down)
    added = math.sqrt(max(0.0, next_sigma**2 - (down * kept) ** 2))
    return kept * lower + noise.float() * (s_noise * added)


def sample_ancestral(
    denoise: Denoise,
    latents: Streams[Tensor],
    sigmas: Tensor,
    callback: StepCallback | None = None,
    *,
    draw: Draw,
    states: Streams[StreamState] | None = None,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Streams[Tensor]:
    """Latents (B, T, C) along `sigmas` (K + 1,) with new noise in every step but the one to 0.

    draw: one draw a step, if eta > 0 (also with s_noise 0). states: what new noise must not reach.
    eta: share of new noise, 0 (none: Euler's rule) to 1. Raises as `run_steps`, and ValueError for other numbers.
    """
    check_at_least_zero(eta=eta, s_noise=s_noise)
    if eta > 1:
        raise ValueError(f"eta: expected at most 1, found {eta}")

    def advance(latents: Streams[Tensor], denoised: Denoised, sigma: Tensor, next_sigma: Tensor) -> Streams[Tensor]:
        if next_sigma == 0:
            return arrived(latents, denoised)

        def step(x: Tensor, x0: Tensor, noise: Tensor | None) -> Tensor:
            return ancestral_step(x, x0, float(sigma), float(next_sigma), noise, eta=eta, s_noise=s_noise)

        noise = draw(latents) if eta > 0 else Streams[Tensor]()
        stepped = latents.map(step, denoised.x0, noise)
        pulled = pull(stepped, states) if eta > 0 else stepped
        return pulled.map(lambda new, x: new.to(x.dtype), latents)

    return run_steps(denoise, latents, sigmas, callback, advance)
