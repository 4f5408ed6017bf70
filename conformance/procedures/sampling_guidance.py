"""Golden cases of the area `sampling`: guidance formulas, and the guided denoiser around a toy transformer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...samplers.denoiser import Denoiser, Predict
from ...samplers.guidance import (
    Apg,
    Cfg,
    CfgStar,
    Guidance,
    GuidanceBySigma,
    MomentumApg,
    Pass,
    Predictions,
    TextRule,
    guide,
)
from ...samplers.guidance.passes import Blocks
from ...samplers.state import StreamState
from ...samplers.steps import sample_euler
from ...samplers.streams import Streams
from ..case import Case
from ..registry import procedure

MOMENTUM_APG = MomentumApg(eta=0.7, threshold=5.0, momentum=0.6)  # named in the case's notes
BLOCKS = 3  # of the toy transformer


@procedure("guiders")
def guiders(case: Case) -> dict[str, Tensor]:
    i, call = case.inputs, case.call
    predictions = Predictions(
        conditioned=i["cond"], unconditioned=i["uncond"], perturbed=i["perturbed"], isolated=i["modality"]
    )
    outputs = {f"multimodal_{n}": guide(predictions, _guidance(row))[0] for n, row in enumerate(call["multimodal"])}
    for name in case.output_names:
        if "_delta_" in name:
            outputs[name] = _delta(case, name)
        elif name.startswith("apg_momentum_") and name.endswith("call0"):
            outputs |= _momentum_calls(case, name.removesuffix("_call0"))
    by_sigma = GuidanceBySigma(
        {float(bound): Guidance(cfg=cfg) for bound, cfg in call["bins_upper_sigma_to_cfg"].items()}
    )
    skips = [[Guidance(skip=skip).skips(step) for step in range(12)] for skip in range(5)]
    return outputs | {
        "bin_cfg": torch.tensor([by_sigma.at(sigma).cfg for sigma in i["bin_query_sigma"].tolist()]),
        "skip_table": torch.tensor(skips).long(),
    }


def _delta(case: Case, name: str) -> Tensor:
    """`{rule}_delta_{scale}`, with `_eta{eta}_thr{threshold}` for APG, and `_b1` or `_flat` for another shape."""
    match = re.fullmatch(r"(\w+)_delta_([\d.]+)(?:_eta([\d.]+)_thr([\d.]+))?(?:_(b1|flat))?", name)
    assert match, name
    rule_name, scale = match[1], float(match[2])
    c, u, p = (_shaped(case.inputs[key], match[5]) for key in ("cond", "uncond", "perturbed"))
    if rule_name == "stg":
        guided, _ = guide(Predictions(conditioned=c, perturbed=p), Guidance(stg=scale))
        return guided - c
    rules: dict[str, TextRule] = {"cfg": Cfg(), "cfgstar": CfgStar()}
    rule = rules.get(rule_name) or Apg(eta=float(match[3]), threshold=float(match[4]))
    return rule.delta(c, u, scale, None)[0]


def _shaped(x: Tensor, shape: str | None) -> Tensor:
    return x[:1] if shape == "b1" else x.flatten(1) if shape == "flat" else x


def _momentum_calls(case: Case, name: str) -> dict[str, Tensor]:
    scale = float(name.rsplit("_", 1)[1])
    c, u = case.inputs["cond"], case.inputs["uncond"]
    calls = [(c[:1], u[:1]), (c[1:], u[1:]), (c[:1] * 0.5, u[1:])]
    outputs, running = {}, None
    for index, pair in enumerate(calls):
        outputs[f"{name}_call{index}"], running = MOMENTUM_APG.delta(*pair, scale, running)
    return outputs


@procedure("guided denoiser")
def guided_denoise(case: Case) -> dict[str, Tensor]:
    outputs: dict[str, Tensor] = {}
    states = _states(case)
    audio = states.audio
    assert audio is not None
    frozen = StreamState(
        latent=audio.clean, clean=audio.clean, mask=audio.mask * 0, positions=audio.positions, frozen=True
    )
    frozen_states = Streams(video=states.video, audio=frozen)
    for row in case.call["cases"]:
        outputs |= _run(case, row["name"], states, _guidances(row))
    outputs |= _run(case, "simple", states, Streams(video=Guidance(), audio=Guidance()))
    outputs |= _run(case, "frozen_audio", frozen_states, _guidances(case.call["frozen_audio"]))
    outputs |= _run(case, "audio_only", Streams(audio=audio), _guidances(case.call["audio_only"]))
    return outputs


def _run(case: Case, name: str, states: Streams[StreamState], guidance: Streams[Guidance]) -> dict[str, Tensor]:
    negative = Streams(video=True, audio=True)
    if name == "frozen_audio":  # its recipe gives the audio no negative text
        negative = Streams(video=True, audio=False)
    denoise = Denoiser(states, guidance, _toy_transformer(case), negative=negative)
    result = sample_euler(denoise, states.map(lambda state: state.latent), case.inputs["sigmas"])
    outputs = {f"{name}_video": result.video, f"{name}_audio": result.audio}
    return {key: value for key, value in outputs.items() if value is not None}


def _states(case: Case) -> Streams[StreamState]:
    def state(name: str) -> StreamState:
        latent, clean, mask = (case.inputs[f"{name}_{field}"] for field in ("latent", "clean", "mask"))
        return StreamState(latent=latent, clean=clean, mask=mask, positions=latent.new_zeros(1, 1, latent.shape[1], 2))

    return Streams(video=state("video"), audio=state("audio"))


def _guidances(row: dict[str, Any]) -> Streams[Guidance]:
    video, audio = (_guidance(row[name]) if name in row else None for name in ("video", "audio"))
    return Streams(video=video, audio=audio)


def _guidance(row: dict[str, Any]) -> Guidance:
    blocks = row.get("stg_blocks")
    return Guidance(
        cfg=row.get("cfg_scale", 1.0),
        stg=row.get("stg_scale", 0.0),
        stg_blocks="all" if blocks is None else frozenset(blocks),
        modality=row.get("modality_scale", 1.0),
        rescale=row.get("rescale_scale", 0.0),
        skip=row.get("skip_step", 0),
    )


def _toy_transformer(case: Case) -> Predict:
    """The toy of the case's notes; its h is the velocity."""

    def predict(
        passes: Sequence[Pass], latents: Streams[Tensor], timesteps: Streams[Tensor], sigmas: Streams[Tensor]
    ) -> list[Streams[Tensor]]:
        return [_toy_pass(case, a_pass, latents, sigmas) for a_pass in passes]

    return predict


def _toy_pass(case: Case, a_pass: Pass, latents: Streams[Tensor], sigmas: Streams[Tensor]) -> Streams[Tensor]:
    i = case.inputs

    def velocity(
        x: Tensor, sigma: Tensor, other: Tensor | None, positive: bool, skipped: Blocks | None, letter: str
    ) -> Tensor:
        context = i[f"{letter}_context_{'pos' if positive else 'neg'}"]
        own = {key: i[f"toy_{key}{letter}"] for key in "WUSKX"}
        h = x @ own["W"] + (context.mean(dim=1) @ own["U"])[:, None] + sigma[:, None, None] * own["S"]
        for block in range(BLOCKS):
            if skipped is not None and (skipped == "all" or block in skipped):
                h = h + own["K"][block]
            if other is not None and not a_pass.isolated:
                h = h + other.mean() * own["X"][block]
        return h

    others = Streams(video=latents.audio, audio=latents.video)
    letters = Streams(video="v", audio="a")
    return latents.map(velocity, sigmas, others, a_pass.positive, a_pass.skip_self_attention, letters)
