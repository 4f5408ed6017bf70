"""Velocity, clean latent, and the pull of given tokens (spec sampling.md section 4).

Rectified flow: x_s = (1 - s) x0 + s noise and v = noise - x0, so x0 = x - s v.
"""

from __future__ import annotations

from torch import Tensor


def x0_from_velocity(latent: Tensor, velocity: Tensor, timesteps: Tensor) -> Tensor:
    """latent - velocity * timesteps in float32, in the dtype of `latent`.

    latent, velocity (B, T, C); timesteps (B, T, 1) or (B, 1, 1): the token's own noise level in [0, 1].
    """
    return (latent.float() - velocity.float() * timesteps.float()).to(latent.dtype)


def velocity_from_x0(latent: Tensor, x0: Tensor, sigma: Tensor | float) -> Tensor:
    """(latent - x0) / sigma in float32, rounded to the dtype of `latent`; sigma > 0."""
    return ((latent.float() - x0.float()) / sigma).to(latent.dtype)


def pull_to_clean(x0: Tensor, clean: Tensor, mask: Tensor) -> Tensor:
    """x0 * mask + clean * (1 - mask): a token with mask 0 stays bit-identical to `clean`."""
    return (x0 * mask + clean.float() * (1 - mask)).to(x0.dtype)
