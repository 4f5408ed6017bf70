"""One stage: noise, guider, step rule, sigmas and latent become a latent (spec pipelines.md 1.1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from ..model_loaders.attention_kernels import AUTO, TORCH, attention_kernel
from ..model_loaders.parts import DiffusionModel
from ..model_loaders.placement import Placement
from ..networks.attention import attention_backend, current_backend, torch_attention
from ..plan.shares import MAX_PASSES
from ..samplers.community import CommunityDenoiser, community_noised
from ..samplers.denoiser import Denoise, Denoiser, Predict
from ..samplers.replay import Replay
from ..samplers.schedules import check_sigmas
from ..samplers.state import StreamState, noised
from ..samplers.steps import StepReport
from ..samplers.streams import Streams
from ..samplers.tiled_predict import tiled_predict
from ..samplers.tiling import TilePlan
from .contexts import POSITIVE, contexts_of
from .generations import of_part
from .guide import Guider
from .health import Health
from .host import in_comfyui
from .host.api import attention_wanted, compute_device, warn_user
from .kept_steps import NEVER, KeptSteps
from .last_good import LastGood
from .latents import (
    Latent,
    members,
)
from .made import MADE, made_of, stage_step
from .memory import Held
from .noise import NoiseSource
from .predictor import Texts, placed_predictor
from .preview import step_progress
from .rules import StepRule
from .start import start_of
from .watched import WatchedSteps, watched

# How a fractional mask is read: what the start is, and what an evaluation sees (spec sampling.md 9.3).
MASK_RULES = {"official": (noised, Denoiser), "community": (community_noised, CommunityDenoiser)}


Run = Callable[[Predict, Streams[bool]], Streams[Tensor]]
"""Predictions, and which streams have a negative text → the denoised tokens of a stage."""


@runtime_checkable
class SampledByHost(Protocol):
    """The transformer of a model that only the host can call."""

    def denoised(self, guider: Guider, states: Streams[StreamState], sigmas: Tensor, run: Run) -> Streams[Tensor]:
        """What `run` gives with the network's predictions, while the host holds it. ValueError for what it cannot."""

    def told(self) -> Mapping[str, Any]:
        """For the run manifest: what this network is."""


@contextmanager
def chosen_attention() -> Iterator[None]:
    """The attention kernels that the user asked for, or the best that work here.

    What ComfyUI was started with may not work for us: then torch's own, and the user is told. A back end that a caller
    has set stays, unless the user asked for another.
    """
    wanted, device = attention_wanted(), compute_device()
    if wanted == AUTO and current_backend() is not torch_attention:
        yield
        return
    try:
        kernel = attention_kernel(wanted, device)
    except ValueError as error:
        if not in_comfyui:
            raise
        warn_user(f"{error}; torch's own is used")
        kernel = attention_kernel(TORCH, device)
    with attention_backend(kernel):
        yield


@chosen_attention()
def run_stage(
    noise: NoiseSource,
    guider: Guider,
    rule: StepRule,
    sigmas: Tensor,
    latent: Latent,
    *,
    keep_after: float = NEVER,
) -> tuple[Latent, Latent | None]:
    """The finished latent, and the generated keyframes (B, C, K, H, W) if the stage had slots for some.

    The start is the latent with its items, noised to the first sigma: 1 for a fresh stage, less for a refinement.
    keep_after: seconds of expected work from which on finished steps are kept on disk; see `KeptSteps`.
    """
    latent, sigmas = of_part(latent, guider.model), check_sigmas(sigmas)
    refuse_unfit(latent, guider.model)
    warn_of_guided_distilled(guider)
    start = start_of(latent, guider.positive, guider.model, compute_device())
    noised_by, denoiser = MASK_RULES[guider.mask_rule]
    states = start.states.map(lambda state, drawn: noised_by(state, drawn, sigmas[0]), start.noise(noise))
    network, health = guider.model.transformer, Health()
    hosted = isinstance(network, SampledByHost)
    kept = KeptSteps(
        partial(_content, noise, guider, rule, sigmas, states),
        states,
        len(sigmas) - 1,
        after=NEVER if hosted or guider.model.watch is not None else keep_after,
    )
    shown = step_progress(len(sigmas) - 1, guider.preview, lambda tokens: members(start.finished(tokens)[0]))

    def run(predict: Predict, negative: Streams[bool]) -> Streams[Tensor]:
        needed, begin = rule.needs_unconditioned, states.map(lambda state: state.latent)
        own = denoiser(states, guider.guidance, predict, negative=negative, unconditioned=needed)
        with LastGood(latent, lambda tokens: start.finished(tokens)[0], health) as good:

            def stepped(report: StepReport) -> None:
                good(report)
                shown(report)

            replay = Replay(own, begin, record=kept.last(), keep=kept.keep, callback=stepped)
            denoise: Denoise = replay.denoise
            if guider.model.watch is not None:
                denoise = WatchedSteps(denoise, guider.model.watch, len(sigmas) - 1)
            return rule.run(denoise, states, sigmas, noise, replay.stepped)

    denoised, placement = kept.done(), Placement()
    if denoised is None:
        if isinstance(network, SampledByHost):
            denoised = network.denoised(guider, states, sigmas, run)
        else:
            denoised, placement = _denoised(guider, states, run, health)
        kept.finish(denoised)
    finished, keyframes = start.finished(denoised)
    step = stage_step(guider.model, noise, rule, sigmas, members(finished), guider.tiles, placement)
    if isinstance(network, SampledByHost):
        step |= network.told()
    finished[MADE] = (*made_of(latent), step)
    return finished, None if keyframes is None else {**keyframes, MADE: finished[MADE]}


def _content(
    noise: NoiseSource, guider: Guider, rule: StepRule, sigmas: Tensor, states: Streams[StreamState]
) -> dict[str, Any]:
    """All that the result of a stage depends on."""
    asked = {name: getattr(guider, name) for name in ("model", "guidance", "tiles", "mask_rule")}
    return asked | {
        "sigmas": sigmas,
        "noise": noise,
        "rule": rule,
        "texts": stage_texts(guider, states),
        "states": states,
    }


def _denoised(
    guider: Guider, states: Streams[StreamState], run: Run, health: Health
) -> tuple[Streams[Tensor], Placement]:
    """By our own network, held as the plan says; the placement is the last one, where memory ran out on the way."""
    if guider.model.watch is not None and guider.tiles != TilePlan():
        raise ValueError("attention: expected a guider without tiles, which see parts alone, found some; remove them")
    texts = stage_texts(guider, states)
    positions = max(context.shape[1] for context in texts.positive.present())
    held = Held(guider.model, states, MAX_PASSES if texts.negative.present() else 1, positions, health)

    def of_tile(own: Streams[StreamState]) -> Predict:
        return held.predict(watched(placed_predictor(texts, own), guider.model.watch))

    predict = tiled_predict(of_tile, states, guider.tiles)
    with held:
        return run(predict, texts.negative.map(lambda _: True)), held.placement


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


def stage_texts(guider: Guider, states: Streams[StreamState]) -> Texts:
    """The contexts of the streams. A frozen stream reads its positive text in every pass: it has nothing to guide."""
    positive = contexts_of(guider.positive, guider.model, POSITIVE)
    negative: Streams[Tensor] = Streams()
    if guider.negative is not None:
        negative = contexts_of(guider.negative, guider.model, "negative")

    def unfrozen(state: StreamState, context: Tensor | None) -> Any:
        return None if state.frozen else context

    return Texts(positive=positive, negative=states.map(unfrozen, negative), nag=guider.nag)
