"""CFG++ Euler, plain and ancestral (spec sampling.md 6.3)."""

from __future__ import annotations

import math

from torch import Tensor

from ..denoiser import Denoise, Denoised
from ..noise import Draw
from ..state import StreamState
from ..streams import Streams
from .given import pull, restore
from .loop import StepCallback, arrived, check_at_least_zero, run_steps

SMALLEST_SIGNAL = 1e-30  # for 1 - s at s = 1, where ComfyUI divides by 0: all noise of the next level is new


def cfgpp_step(
    x: Tensor,
    x0: Tensor,
    unconditioned: Tensor,
    sigma: float,
    next_sigma: float,
    noise: Tensor | None,
    *,
    eta: float,
    s_noise: float = 1.0,
) -> Tensor:
    """From sigma s to s' in float32: the clean part is the guided x0, the noise part that of the unconditioned x0.

    x, x0, unconditioned, noise (B, T, C); s' = 0 gives x0; noise None: none is added.
    """
    if next_sigma == 0:
        return x0.float()
    signal, next_signal = max(1 - sigma, SMALLEST_SIGNAL), max(1 - next_sigma, SMALLEST_SIGNAL)
    direction = (x.float() - signal * unconditioned.float()) / sigma
    down, up = _split(sigma / signal, next_sigma / next_signal, eta)
    stepped = next_signal * x0.float() + next_signal * down * direction
    return stepped if noise is None else stepped + noise.float() * (next_signal * up * s_noise)


def _split(ratio: float, next_ratio: float, eta: float) -> tuple[float, float]:
    """How much of the next noise-to-signal ratio is old noise, and how much new."""
    up = min(next_ratio, eta * math.sqrt(next_ratio**2 * max(0.0, ratio**2 - next_ratio**2) / ratio**2))
    return math.sqrt(max(0.0, next_ratio**2 - up**2)), up


def sample_cfgpp(
    denoise: Denoise,
    latents: Streams[Tensor],
    sigmas: Tensor,
    callback: StepCallback | None = None,
    *,
    draw: Draw,
    states: Streams[StreamState] | None = None,
    eta: float = 0.0,
    s_noise: float = 1.0,
) -> Streams[Tensor]:
    """Latents (B, T, C) along `sigmas` (K + 1,); `denoise` must give the unconditioned prediction too.

    draw: one draw a step but the last, if eta > 0 and s_noise > 0. states: what new noise must not reach.
    Raises as `run_steps`, and ValueError for other numbers and for a denoiser without unconditioned predictions.
    """
    check_at_least_zero(eta=eta, s_noise=s_noise)
    noisy = eta > 0 and s_noise > 0

    def advance(latents: Streams[Tensor], denoised: Denoised, sigma: Tensor, next_sigma: Tensor) -> Streams[Tensor]:
        if denoised.unconditioned is None:
            raise ValueError("denoise: CFG++ needs the unconditioned prediction, found none; ask the denoiser for it")
        if next_sigma == 0:
            return arrived(latents, denoised)

        def step(x: Tensor, x0: Tensor, u: Tensor, noise: Tensor | None) -> Tensor:
            return cfgpp_step(x, x0, u, float(sigma), float(next_sigma), noise, eta=eta, s_noise=s_noise)

        noise = draw(latents) if noisy else Streams[Tensor]()
        stepped = latents.map(step, denoised.x0, denoised.unconditioned, noise)
        kept = pull(stepped, states) if noisy else restore(stepped, states)
        return kept.map(lambda new, x: new.to(x.dtype), latents)

    return run_steps(denoise, latents, sigmas, callback, advance)
