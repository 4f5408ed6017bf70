"""Golden cases of the area `sampling`: schedules, noise, conversions."""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor

from ...samplers.conversions import pull_to_clean, velocity_from_x0, x0_from_velocity
from ...samplers.noise import add_noise
from ...samplers.schedules import DEFAULT_TOKENS, ltx2_sigmas
from ..case import Case
from ..registry import procedure


@procedure("scheduler.ltx2")
def token_shifted_schedule(case: Case) -> dict[str, Tensor]:
    call = case.call
    variants = {
        f"variant{i}": ltx2_sigmas(call["variants_steps"], tokens=call["variants_tokens"], **options)
        for i, options in enumerate(call["variants"])
    }
    named = {name: _schedule_of(name) for name in case.output_names if name not in variants}
    return variants | named


def _schedule_of(name: str) -> Tensor:
    """`ltx2_steps{S}_tokens{N|none}`, or `ltx2_steps{S}_shape{a}x{b}x…` of a whole latent."""
    match = re.fullmatch(r"ltx2_steps(\d+)_(tokens|shape)(.+)", name)
    assert match, name
    steps, kind, value = int(match[1]), match[2], match[3]
    if kind == "tokens":
        return ltx2_sigmas(steps, tokens=DEFAULT_TOKENS if value == "none" else int(value))
    tokens = 1
    for size in value.split("x")[2:]:
        tokens *= int(size)
    return ltx2_sigmas(steps, tokens=tokens)


@procedure("noiser,x0,velocity,postprocess")
def noise_and_conversions(case: Case) -> dict[str, Tensor]:
    i = case.inputs
    latent, clean, mask, velocity = i["latent"], i["clean_latent"], i["denoise_mask"], i["velocity"]
    sigma: Any = case.call["velocity_sigma"]
    timesteps = mask * i["sigma_batch"][:, None, None]
    x0 = x0_from_velocity(latent, velocity, timesteps)
    noised = {
        f"noised_scale_{scale}": add_noise(latent, clean, mask, i["noise"], scale)
        for scale in case.call["noise_scales"]
    }
    return noised | {
        "timesteps": timesteps,
        "x0_per_token": x0,
        "x0_from_velocity_sigma0.7": x0_from_velocity(latent, velocity, mask.new_tensor(sigma)),
        "velocity_from_x0_sigma0.7": velocity_from_x0(latent, x0, sigma),
        "x0_post_processed": pull_to_clean(x0, clean, mask),
    }
