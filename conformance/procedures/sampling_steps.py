"""Golden cases of the area `sampling`: single steps and whole loops around a toy denoiser."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import count
from typing import cast

import torch
from torch import Tensor

from ...samplers.conversions import pull_to_clean
from ...samplers.denoiser import Denoise, Denoised
from ...samplers.noise import Draw, SdeNoise
from ...samplers.state import StreamState
from ...samplers.steps import (
    Res2s,
    ancestral_step,
    cfgpp_step,
    euler_step,
    sample_ancestral,
    sample_cfgpp,
    sample_euler,
    sample_gradient_estimation,
    sample_res2s,
)
from ...samplers.steps.res2s import coefficients, sde_step
from ...samplers.streams import Streams
from ..case import Case
from ..registry import procedure

STREAMS = ("video", "audio")


@procedure("steps.euler,ancestral,cfgpp,res2s")
def single_steps(case: Case) -> dict[str, Tensor]:
    steps = {name: _single_step(case, name) for name in case.output_names if name != "res2s_a21_b1_b2"}
    lengths = case.inputs["res2s_h"].tolist()
    return steps | {"res2s_a21_b1_b2": torch.tensor([coefficients(h) for h in lengths])}


def _single_step(case: Case, name: str) -> Tensor:
    """`euler_{i}`, `{rule}_eta{eta}_s{s_noise}_{i}` or `res2s_eta{eta}_{i}`: from sigma i to sigma i + 1."""
    match = re.fullmatch(r"(\w+?)(?:_eta([\d.]+))?(?:_s([\d.]+))?_(\d)", name)
    assert match, name
    rule, eta, s_noise, index = match[1], float(match[2] or 0), float(match[3] or 1), int(match[4])
    i = case.inputs
    x, x0, noise = i["sample"], i["denoised"], i["noise"]
    sigma, next_sigma = i["sigmas"][index].cpu(), i["sigmas"][index + 1].cpu()
    if rule == "euler":
        return euler_step(x, x0, sigma, next_sigma)
    if rule == "res2s":
        stepped = sde_step(x.double(), x0.double(), sigma.double(), next_sigma.double(), noise.double(), eta=eta)
        return stepped.float()
    s, s_next = float(sigma), float(next_sigma)
    if rule == "ancestral":
        return ancestral_step(x, x0, s, s_next, noise, eta=eta, s_noise=s_noise)
    return cfgpp_step(x, x0, i["uncond_denoised"], s, s_next, noise, eta=eta, s_noise=s_noise)


@procedure("loops")
def loops(case: Case) -> dict[str, Tensor]:
    outputs: dict[str, Tensor] = {}
    for name in sorted({output.rsplit("_", 1)[0] for output in case.output_names}):
        rule, schedule = name.rsplit("_", 1)
        result = _loop(case, rule, case.inputs[f"sigmas_{schedule}"])
        outputs |= {
            f"{name}_{stream}": getattr(result, stream) for stream in STREAMS if getattr(result, stream) is not None
        }
    return outputs


def _loop(case: Case, rule: str, sigmas: Tensor) -> Streams[Tensor]:
    states = _states(case)
    denoise, draw = _toy_denoise(case, states), _recorded_noise(case)
    latents = states.map(lambda state: state.latent)
    if rule == "euler":
        return sample_euler(denoise, latents, sigmas)
    if rule == "euler_videoonly":
        return sample_euler(denoise, Streams(video=latents.video), sigmas)
    if rule.startswith("gradest"):
        return sample_gradient_estimation(denoise, latents, sigmas, gamma=float(rule.removeprefix("gradest")))
    if rule.startswith("res2s"):
        match = re.fullmatch(r"res2s_bong(\d)_legacy(\d)_eta([\d.]+)", rule)
        assert match, rule
        options = Res2s(eta=float(match[3]), refine=match[1] == "1", per_token=match[2] == "0")
        return sample_res2s(
            denoise, latents, sigmas, noise=SdeNoise(step=draw, substep=draw), states=states, options=options
        )
    sample = sample_ancestral if rule.startswith("ancestral") else sample_cfgpp
    eta = float(rule.removeprefix("ancestral").removeprefix("cfgpp"))
    return sample(denoise, latents, sigmas, draw=draw, states=states, eta=eta)


def _states(case: Case) -> Streams[StreamState]:
    def state(name: str) -> StreamState:
        latent, clean, mask = (case.inputs[f"{name}_{field}"] for field in ("latent", "clean", "mask"))
        return StreamState(latent=latent, clean=clean, mask=mask, positions=latent.new_zeros(1, 1, latent.shape[1], 2))

    return Streams(video=state("video"), audio=state("audio"))


def _recorded_noise(case: Case) -> Draw:
    """The k-th call gives the k-th recorded draw."""
    recorded = Streams(video=case.inputs["noise_video"], audio=case.inputs["noise_audio"])
    counter = count()

    def draw(latents: Streams[Tensor]) -> Streams[Tensor]:
        k = next(counter)
        return latents.map(lambda x, noise: noise[k].to(x), recorded)

    return draw


def _toy_denoise(case: Case, states: Streams[StreamState]) -> Denoise:
    """x0 = (x @ W) (1 - sigma / 2) + b + sigma c; unconditioned audio: the same at 0.9 x."""

    def toy(name: str) -> Callable[[Tensor, float], Tensor]:
        w, b, c = (case.inputs[f"toy_{name}_{letter}"] for letter in "Wbc")
        return lambda x, sigma: (x @ w) * (1 - 0.5 * sigma) + b + sigma * c

    video, uncond, audio = toy("video"), toy("uncond"), toy("audio")
    conditioned = Streams(video=video, audio=audio)
    unconditioned = Streams(video=uncond, audio=cast(Callable[[Tensor, float], Tensor], lambda x, s: audio(0.9 * x, s)))

    def denoise(latents: Streams[Tensor], sigma: Tensor, step: int | None = None) -> Denoised:
        s = float(sigma)
        x0 = latents.map(
            lambda x, model, state: pull_to_clean(model(x, s), state.clean, state.mask), conditioned, states
        )
        return Denoised(x0=x0, unconditioned=latents.map(lambda x, model: model(x, s), unconditioned))

    return denoise
