"""From a velocity prediction to the `denoise` callable that every step rule takes.

A step rule never sees a network, a text or a mask: only `denoise(latents, sigma) -> guided clean latents`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .conversions import pull_to_clean, x0_from_velocity
from .guidance import Guidance, guide
from .state import StreamState
from .streams import Streams

Denoise = Callable[[Streams[Tensor], Tensor], Streams[Tensor]]
# (latents (B, T, C), timesteps (B, T, 1), sigmas (B,)) -> velocities (B, T, C), each a value a stream
PredictVelocity = Callable[[Streams[Tensor], Streams[Tensor], Streams[Tensor]], Streams[Tensor]]


def denoiser(
    states: Streams[StreamState],
    guidance: Streams[Guidance],
    conditioned: PredictVelocity,
    unconditioned: PredictVelocity | None = None,
) -> Denoise:
    """Guided, mask-blended prediction of the clean latent at a sigma (spec sampling.md sections 4 and 7).

    The unconditioned pass runs only when a stream's guidance needs it; ValueError if it is then missing.
    """
    wanted = any(parameters.needs_unconditioned for parameters in guidance.present())
    if wanted and unconditioned is None:
        raise ValueError("negative: guidance above 1 needs a negative prompt (an empty one will do), found none")

    def denoise(latents: Streams[Tensor], sigma: Tensor) -> Streams[Tensor]:
        timesteps = states.map(lambda state: state.mask * sigma)
        sigmas = states.map(lambda state: _scalar_sigma(state, sigma))

        def predict(velocity: PredictVelocity) -> Streams[Tensor]:
            return latents.map(x0_from_velocity, velocity(latents, timesteps, sigmas), timesteps)

        c = predict(conditioned)
        u = predict(unconditioned) if wanted and unconditioned is not None else Streams[Tensor]()
        guided = c.map(guide, u, guidance)
        return guided.map(lambda x0, state: pull_to_clean(x0, state.clean, state.mask), states)

    return denoise


def _scalar_sigma(state: StreamState, sigma: Tensor) -> Tensor:
    """(B,) float32: the schedule's sigma, 0 for a frozen stream; never the maximum over the tokens."""
    batch = state.latent.shape[0]
    if state.frozen:
        return torch.zeros(batch, dtype=torch.float32, device=state.latent.device)
    return sigma.to(state.latent.device, torch.float32).expand(batch)
