"""One stage: noise, guider, step rule, sigmas and latent become a latent (spec pipelines.md 1.1)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..model_loaders.parts import DiffusionModel
from ..samplers.conditioning import apply_items
from ..samplers.denoiser import Denoiser
from ..samplers.schedules import check_sigmas
from ..samplers.state import StageResult, StreamState, audio_state, end_stage, noised, video_state
from ..samplers.streams import Streams
from .conditioning import contexts_of
from .guide import Guider
from .host.api import compute_device, progress
from .latents import FRAME_RATE, ITEMS, Items, Latent, frame_rate_of, items_of, joined, members
from .noise import NoiseSource
from .predictor import Texts, predictor
from .rules import StepRule


def run_stage(
    noise: NoiseSource, guider: Guider, rule: StepRule, sigmas: Tensor, latent: Latent
) -> tuple[Latent, Latent | None]:
    """The finished latent, and the generated keyframes (B, C, K, H, W) if the stage had slots for some.

    The start is the latent with its items, noised to the first sigma: 1 for a fresh stage, less for a refinement.
    """
    sigmas = check_sigmas(sigmas)
    states = stage_states(latent, guider.model, compute_device())
    states = states.map(lambda state, drawn: noised(state, drawn, sigmas[0]), noise.start(states))
    transformer = guider.model.transformer.on(compute_device())
    texts = stage_texts(guider, states)
    denoise = Denoiser(
        states,
        guider.guidance,
        predictor(transformer, texts, states),
        negative=texts.negative.map(lambda _: True),
        unconditioned=rule.needs_unconditioned,
    )
    bar = progress(len(sigmas) - 1)
    denoised = rule.run(
        denoise, states, sigmas, noise, lambda report: bar.update_absolute(report.index + 1, report.total)
    )
    return _finished(latent, denoised.map(lambda tokens, state: end_stage(replace(state, latent=tokens)), states))


def stage_states(latent: Latent, model: DiffusionModel, device: torch.device) -> Streams[StreamState]:
    """The streams of a LATENT as token states with its items in them, before noise."""
    start = members(latent).map(lambda member: member.to(device, torch.float32))
    states = Streams(
        video=None if start.video is None else video_state(start.video, frame_rate_of(latent)),
        audio=None if start.audio is None else audio_state(start.audio),
    )

    def apply(state: StreamState, items: Items | None) -> StreamState:
        return apply_items(state, items or (), slots_supported=model.config.keyframe_marker)

    return states.map(apply, items_of(latent))


def stage_texts(guider: Guider, states: Streams[StreamState]) -> Texts:
    """The contexts of the streams. A frozen stream reads its positive text in every pass: it has nothing to guide."""
    positive = contexts_of(guider.positive, guider.model, "positive")
    negative: Streams[Tensor] = Streams()
    if guider.negative is not None:
        negative = contexts_of(guider.negative, guider.model, "negative")

    def unfrozen(state: StreamState, context: Tensor | None) -> Any:
        return None if state.frozen else context

    return Texts(positive=positive, negative=states.map(unfrozen, negative))


def _finished(latent: Latent, results: Streams[StageResult]) -> tuple[Latent, Latent | None]:
    pair = results.map(lambda result: result.latent.float().cpu())
    rest = {key: value for key, value in latent.items() if key != ITEMS}
    slots = None if results.video is None else results.video.slots
    keyframes = None if slots is None else {"samples": slots.float().cpu(), FRAME_RATE: latent.get(FRAME_RATE)}
    return {**rest, "samples": joined(pair)}, keyframes
