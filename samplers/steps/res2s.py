"""res_2s: the second-order exponential rule with noise, of the high-quality recipe (spec sampling.md 6.5).

Everything inside a step is float64; the network and the state between evaluations keep the dtype of the latents.
"""

# x (B, T, C); D1, D2 predictions of x0; X the anchor, E1 = D1 - X, E2 = D2 - X; h the step in -ln(sigma)
from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ..denoiser import Denoise, Denoised
from ..noise import Draw, SdeNoise, normalised
from ..schedules import check_sigmas
from ..state import StreamState
from ..streams import Streams
from .given import pull
from .loop import StepCallback, arrived, check_at_least_zero, refuse_non_finite, report

LAST_SIGMA = 0.0011  # of the last full step, where the schedule ends in 0: h must stay finite
SUBSTEP_ETA = 0.5
REFINED_BELOW = 0.5  # h
REFINED_ABOVE = 0.03  # sigma


@dataclass(frozen=True, kw_only=True)
class Res2s:
    """Options of the rule.

    eta        share of new noise in a step, 0 (none) or more; a substep always has 0.5
    refine     the anchor of short steps is moved to where the step to the middle ends without error
    per_token  noise by each token's own sigma, mask * sigma, and no pull to the clean latent after it. No recipe uses
               it; a stream with a given token then gets no noise at all, as in the official code
    """

    eta: float = 0.5
    refine: bool = True
    per_token: bool = False

    def __post_init__(self) -> None:
        check_at_least_zero(eta=self.eta)


def coefficients(h: float) -> tuple[float, float, float]:
    """a21, b1, b2 of a step of length h."""
    b2 = 2 * _phi2(-h)
    return 0.5 * _phi1(-h / 2), _phi1(-h) - b2, b2


def _phi1(z: float) -> float:
    return 1.0 if abs(z) < 1e-10 else math.expm1(z) / z


def _phi2(z: float) -> float:
    return 0.5 if abs(z) < 1e-10 else (math.expm1(z) - z) / z**2


def sde_step(sample: Tensor, target: Tensor, sigma: Tensor, next_sigma: Tensor, noise: Tensor, *, eta: float) -> Tensor:
    """`target`, which a step from `sample` has reached at s', with part of its noise exchanged for new one.

    sample, target, noise (B, T, C) float64; sigmas float64, one number or (B, T, 1). Where nothing can be exchanged
    (eta 0, s' = 0, or a single token with s' = 0) the whole target comes back.
    """
    up = torch.minimum(next_sigma * eta, next_sigma * 0.9999)
    if bool((up == 0).any()):
        return target
    rest = (next_sigma**2 - up**2).sqrt()
    alpha = (1 - next_sigma) + rest
    direction = (sample - target) / (sigma - next_sigma)
    clean = sample - sigma * direction
    return alpha * (clean + rest / alpha * direction) + up * noise


def sample_res2s(
    denoise: Denoise,
    latents: Streams[Tensor],
    sigmas: Tensor,
    callback: StepCallback | None = None,
    *,
    noise: SdeNoise,
    states: Streams[StreamState] | None = None,
    options: Res2s = Res2s(),
) -> Streams[Tensor]:
    """Latents (B, T, C) along `sigmas` (K + 1,), two evaluations a step, and a last one where it ends in 0.

    noise: per step one draw of each, the substep's first. states: what new noise must not reach.
    Raises as `run_steps`; ValueError for a schedule with a value from 0.0011 down to above 0.
    """
    values = _full_steps(check_sigmas(sigmas))
    full = len(values) - 1
    total = full + 1 if sigmas[-1] == 0 else full
    rule = _Rule(denoise=denoise, noise=noise, states=states, options=options, total=total)
    for index, (sigma, next_sigma) in enumerate(pairwise(values)):
        latents, denoised = rule.step(latents, sigma, next_sigma, index)
        latents = report(callback, index, total, sigma, denoised, latents)
    if total > full:
        denoised = denoise(latents, values[-1], full)
        refuse_non_finite(denoised, full, total)
        latents = arrived(latents, denoised)
        latents = report(callback, full, total, values[-1], denoised, latents)
    return latents


def _full_steps(sigmas: Tensor) -> Tensor:
    if sigmas[-1] > 0:
        return sigmas
    if sigmas[-2] <= LAST_SIGMA:
        raise ValueError(f"sigmas: expected {LAST_SIGMA} to lie between the last two, found {sigmas[-2]:g} and 0")
    return torch.cat([sigmas[:-1], torch.tensor([LAST_SIGMA])])


@dataclass(frozen=True, kw_only=True)
class _Rule:
    denoise: Denoise
    noise: SdeNoise
    states: Streams[StreamState] | None
    options: Res2s
    total: int

    def step(
        self, latents: Streams[Tensor], sigma: Tensor, next_sigma: Tensor, index: int
    ) -> tuple[Streams[Tensor], Denoised]:
        """One full step, and the prediction that it started with; both sigmas are numbers on the CPU."""
        s, s_next = sigma.double(), next_sigma.double()
        s_middle = (s * s_next).sqrt()
        h = -math.log(float(s_next) / float(s))
        a21, b1, b2 = coefficients(h)
        anchor = latents.map(Tensor.double)

        denoised = self._evaluate(latents, sigma, index, index)
        first = denoised.x0.map(Tensor.double)
        middle = anchor.map(lambda x, d1: x + h * a21 * (d1 - x), first)
        middle = self._exchange(anchor, middle, s, s_middle, self.noise.substep, SUBSTEP_ETA)
        if self.options.refine and h < REFINED_BELOW and s > REFINED_ABOVE:
            # The fixed point of X <- xm - h a21 (D1 - X), which the official code reaches by 100 iterations.
            anchor = middle.map(lambda xm, d1: (xm - h * a21 * d1) / (1 - h * a21), first)
        rounded = middle.map(lambda xm, x: xm.to(x.dtype), latents)
        second = self._evaluate(rounded, s_middle.float(), None, index).x0.map(Tensor.double)
        end = anchor.map(lambda x, d1, d2: x + h * (b1 * (d1 - x) + b2 * (d2 - x)), first, second)
        end = self._exchange(anchor, end, s, s_next, self.noise.step, self.options.eta)
        return end.map(lambda xn, x: xn.to(x.dtype), latents), denoised

    def _evaluate(self, latents: Streams[Tensor], sigma: Tensor, step: int | None, index: int) -> Denoised:
        denoised = self.denoise(latents, sigma, step)
        refuse_non_finite(denoised, index, self.total)
        return denoised

    def _exchange(
        self, anchor: Streams[Tensor], target: Streams[Tensor], s: Tensor, s_next: Tensor, draw: Draw, eta: float
    ) -> Streams[Tensor]:
        noise = draw(anchor).map(normalised)

        def exchanged(sample: Tensor, reached: Tensor, new: Tensor, state: StreamState | None) -> Tensor:
            scale = state.mask.double() if self.options.per_token and state is not None else torch.ones(())
            return sde_step(sample, reached, s * scale, s_next * scale, new, eta=eta)

        states = self.states if self.states is not None else Streams[StreamState]()
        stepped = anchor.map(exchanged, target, noise, states)
        return stepped if self.options.per_token else pull(stepped, self.states)
