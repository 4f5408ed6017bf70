"""One stage: noise, guider, step rule, sigmas and latent become a latent (spec pipelines.md 1.1)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..model_loaders.parts import DiffusionModel
from ..samplers.community import CommunityDenoiser, community_noised
from ..samplers.conditioning import KeyframeSlots, apply_items
from ..samplers.denoiser import Denoiser
from ..samplers.schedules import check_sigmas
from ..samplers.shapes import pixel_frames
from ..samplers.state import StageResult, StreamState, audio_state, end_stage, noised, video_state
from ..samplers.steps import StepReport
from ..samplers.streams import Streams
from ..samplers.tiled_predict import tiled_predict
from .conditioning import contexts_of
from .generations import generation_of, of_part
from .guide import Guider
from .host.api import compute_device, warn_user
from .last_good import LastGood
from .latents import (
    FRAME_RATE,
    ITEMS,
    KEYFRAME_CLIP,
    KEYFRAMES,
    Items,
    Latent,
    frame_rate_of,
    items_of,
    joined,
    members,
    refuse_other_duration,
)
from .made import MADE, made_of, stage_step
from .noise import NoiseSource
from .predictor import Texts, predictor
from .preview import interruptible, step_progress
from .rules import StepRule

# How a fractional mask is read: what the start is, and what an evaluation sees (spec sampling.md 9.3).
MASK_RULES = {"official": (noised, Denoiser), "community": (community_noised, CommunityDenoiser)}


def run_stage(
    noise: NoiseSource, guider: Guider, rule: StepRule, sigmas: Tensor, latent: Latent
) -> tuple[Latent, Latent | None]:
    """The finished latent, and the generated keyframes (B, C, K, H, W) if the stage had slots for some.

    The start is the latent with its items, noised to the first sigma: 1 for a fresh stage, less for a refinement.
    """
    latent, sigmas = of_part(latent, guider.model), check_sigmas(sigmas)
    refuse_other_duration(latent)
    refuse_unfit(latent, guider.model)
    warn_of_guided_distilled(guider)
    states = stage_states(latent, guider.model, compute_device())
    start, denoiser = MASK_RULES[guider.mask_rule]
    states = states.map(lambda state, drawn: start(state, drawn, sigmas[0]), noise.start(states))
    transformer = guider.model.transformer.on(compute_device())
    texts = stage_texts(guider, states)
    denoise = denoiser(
        states,
        guider.guidance,
        tiled_predict(partial(predictor, transformer, texts), states, guider.tiles),
        negative=texts.negative.map(lambda _: True),
        unconditioned=rule.needs_unconditioned,
    )

    def results(tokens: Streams[Tensor]) -> Streams[StageResult]:
        return tokens.map(lambda own, state: end_stage(replace(state, latent=own)), states)

    shown = step_progress(
        len(sigmas) - 1, guider.preview, lambda tokens: results(tokens).map(lambda result: result.latent)
    )
    blocks = interruptible(transformer.transformer_blocks)
    with blocks, LastGood(latent, lambda tokens: _finished(latent, results(tokens))[0]) as good:

        def stepped(report: StepReport) -> None:
            good(report)
            shown(report)

        denoised = rule.run(denoise, states, sigmas, noise, stepped)
    finished, keyframes = _finished(latent, results(denoised))
    step = stage_step(guider.model, noise, rule, sigmas, members(finished), guider.tiles)
    finished[MADE] = (*made_of(latent), step)
    return finished, None if keyframes is None else {**keyframes, MADE: finished[MADE]}


def refuse_unfit(latent: Latent, model: DiffusionModel) -> None:
    """ValueError for a LATENT that was not made for this model, or that holds NaN or infinity before any step."""
    channels = Streams(video=model.video_channels, audio=model.audio_channels)
    for name, member in vars(members(latent)).items():
        expected = getattr(channels, name)
        if member is None:
            continue
        if member.shape[1] != expected:
            wanted = f"{expected} {name} channels" if expected else f"no {name}"
            raise ValueError(
                f"latent: expected {wanted}, as {model.path.name} has, found {member.shape[1]}; it belongs to another "
                "model: start from Empty AV Latent (LTX)"
            )
        if not bool(member.isfinite().all()):
            raise ValueError(f"latent: expected finite numbers, found NaN or infinity in the {name}; make it anew")


def warn_of_guided_distilled(guider: Guider) -> None:
    """A word where text guidance is asked of a model that its loader took for a distilled one."""
    if guider.model.training != "distilled":
        return
    scales = [parameters.cfg for own in guider.guidance.present() for parameters in own.sets()]
    if any(scale > 1 for scale in scales):
        warn_user(
            f"{guider.model.path.name} is distilled, which needs no guidance, and cfg is {max(scales):g}: colours may "
            "burn and each step takes twice as long; use 1"
        )


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

    return Texts(positive=positive, negative=states.map(unfrozen, negative), nag=guider.nag)


def _finished(latent: Latent, results: Streams[StageResult]) -> tuple[Latent, Latent | None]:
    pair = results.map(lambda result: result.latent.float().cpu())
    rest = {key: value for key, value in latent.items() if key != ITEMS}
    return {**rest, "samples": joined(pair)}, _keyframes(latent, results.video)


def _keyframes(latent: Latent, video: StageResult | None) -> Latent | None:
    if video is None or video.slots is None:
        return None
    slots = next(item for item in items_of(latent).video or () if isinstance(item, KeyframeSlots))
    return {
        **generation_of(latent),
        "samples": video.slots.float().cpu(),
        FRAME_RATE: frame_rate_of(latent),
        KEYFRAMES: list(slots.positions),
        KEYFRAME_CLIP: pixel_frames(video.latent.shape[2]),
    }
