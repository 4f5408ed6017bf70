"""One stage: noise, guider, step rule, sigmas and latent become a latent (spec pipelines.md 1.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..model_loaders.parts import DiffusionModel
from ..networks.transformer import Transformer
from ..samplers.community import CommunityDenoiser, community_noised
from ..samplers.conditioning import KeyframeSlots, apply_items
from ..samplers.denoiser import Denoiser
from ..samplers.schedules import check_sigmas
from ..samplers.shapes import pixel_frames
from ..samplers.state import StageResult, StreamState, audio_state, end_stage, noised, video_state
from ..samplers.steps import StepReport
from ..samplers.streams import Streams
from ..samplers.tiled_predict import tiled_predict
from .contexts import contexts_of
from .guide import Guider
from .host.api import compute_device, output_file, progress, warn_user
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
from .noise import NoiseSource
from .predictor import Texts, activation_bytes, predictor
from .rules import StepRule

# How a fractional mask is read: what the start is, and what an evaluation sees (spec sampling.md 9.3).
MASK_RULES = {"official": (noised, Denoiser), "community": (community_noised, CommunityDenoiser)}


def run_stage(
    noise: NoiseSource, guider: Guider, rule: StepRule, sigmas: Tensor, latent: Latent
) -> tuple[Latent, Latent | None]:
    """The finished latent, and the generated keyframes (B, C, K, H, W) if the stage had slots for some.

    The start is the latent with its items, noised to the first sigma: 1 for a fresh stage, less for a refinement.
    """
    sigmas = check_sigmas(sigmas)
    refuse_other_duration(latent)
    warn_of_guided_distilled(guider)
    states = stage_states(latent, guider.model, compute_device())
    start, denoiser = MASK_RULES[guider.mask_rule]
    states = states.map(lambda state, drawn: start(state, drawn, sigmas[0]), noise.start(states))
    transformer = _transformer(guider.model, states)
    texts = stage_texts(guider, states)
    denoise = denoiser(
        states,
        guider.guidance,
        tiled_predict(partial(predictor, transformer, texts), states, guider.tiles),
        negative=texts.negative.map(lambda _: True),
        unconditioned=rule.needs_unconditioned,
    )

    def finish(denoised: Streams[Tensor]) -> tuple[Latent, Latent | None]:
        return _finished(latent, denoised.map(lambda tokens, state: end_stage(replace(state, latent=tokens)), states))

    with _LastGood(len(sigmas) - 1, finish) as steps:
        denoised = rule.run(denoise, states, sigmas, noise, steps)
    return finish(denoised)


def _transformer(model: DiffusionModel, states: Streams[StreamState]) -> Transformer:
    """The network, on the device, with room for one pass beside it."""
    tokens = sum(state.latent.shape[0] * state.latent.shape[1] for state in states.present())
    needed = activation_bytes(model.config, model.transformer.dtype, tokens)
    return model.transformer.on(compute_device(), memory=needed)


class _LastGood:
    """Reports steps; where one gives NaN, leaves the prediction before it on disk (the error names the file)."""

    def __init__(self, steps: int, finish: Callable[[Streams[Tensor]], tuple[Latent, Latent | None]]) -> None:
        self._bar, self._finish = progress(steps), finish
        self._x0: Streams[Tensor] | None = None

    def __enter__(self) -> _LastGood:
        return self

    def __call__(self, report: StepReport) -> None:
        self._x0 = report.x0
        self._bar.update_absolute(report.index + 1, report.total)

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if not isinstance(error, FloatingPointError) or self._x0 is None:
            return
        pair = members(self._finish(self._x0)[0])
        file = output_file("last_good_latent", ".safetensors")
        save_file({name: value.contiguous() for name, value in vars(pair).items() if value is not None}, file.path)
        raise FloatingPointError(f"{error}; the latent of the step before is in {file.path}") from error


def warn_of_guided_distilled(guider: Guider) -> None:
    """A word where text guidance is asked of a checkpoint that calls itself distilled. Files do not always tell."""
    if "distilled" not in guider.model.path.name.lower():
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

    return Texts(positive=positive, negative=states.map(unfrozen, negative))


def _finished(latent: Latent, results: Streams[StageResult]) -> tuple[Latent, Latent | None]:
    pair = results.map(lambda result: result.latent.float().cpu())
    rest = {key: value for key, value in latent.items() if key != ITEMS}
    return {**rest, "samples": joined(pair)}, _keyframes(latent, results.video)


def _keyframes(latent: Latent, video: StageResult | None) -> Latent | None:
    if video is None or video.slots is None:
        return None
    slots = next(item for item in items_of(latent).video or () if isinstance(item, KeyframeSlots))
    return {
        "samples": video.slots.float().cpu(),
        FRAME_RATE: frame_rate_of(latent),
        KEYFRAMES: list(slots.positions),
        KEYFRAME_CLIP: pixel_frames(video.latent.shape[2]),
    }
