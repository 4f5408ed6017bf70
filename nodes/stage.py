"""One stage: noise, guider, step rule, sigmas and latent become a latent (spec pipelines.md 1.1)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..model_loaders.parts import DiffusionModel
from ..samplers.community import CommunityDenoiser, community_noised
from ..samplers.denoiser import Denoiser
from ..samplers.replay import Replay
from ..samplers.schedules import check_sigmas
from ..samplers.state import StreamState, noised
from ..samplers.steps import StepReport
from ..samplers.streams import Streams
from ..samplers.tiled_predict import tiled_predict
from .contexts import POSITIVE, contexts_of
from .generations import of_part
from .guide import Guider
from .host.api import compute_device, warn_user
from .kept_steps import NEVER, KeptSteps
from .last_good import LastGood
from .latents import (
    Latent,
    members,
)
from .made import MADE, made_of, stage_step
from .memory import Held
from .noise import NoiseSource
from .predictor import MAX_PASSES, Texts, placed_predictor
from .preview import step_progress
from .rules import StepRule
from .start import start_of

# How a fractional mask is read: what the start is, and what an evaluation sees (spec sampling.md 9.3).
MASK_RULES = {"official": (noised, Denoiser), "community": (community_noised, CommunityDenoiser)}


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
    texts = stage_texts(guider, states)
    held = Held(guider.model, states, MAX_PASSES if texts.negative.present() else 1)
    denoise = denoiser(
        states,
        guider.guidance,
        tiled_predict(lambda own: held.predict(placed_predictor(texts, own)), states, guider.tiles),
        negative=texts.negative.map(lambda _: True),
        unconditioned=rule.needs_unconditioned,
    )

    content = {"sigmas": sigmas, "noise": noise, "rule": rule, "texts": texts, "states": states} | asked_of(guider)
    kept = KeptSteps(content, states, len(sigmas) - 1, after=keep_after)
    shown = step_progress(len(sigmas) - 1, guider.preview, lambda tokens: members(start.finished(tokens)[0]))
    denoised = kept.done()
    if denoised is None:
        with held, LastGood(latent, lambda tokens: start.finished(tokens)[0], held.health) as good:

            def stepped(report: StepReport) -> None:
                good(report)
                shown(report)

            begin = states.map(lambda state: state.latent)
            replay = Replay(denoise, begin, record=kept.last(), keep=kept.keep, callback=stepped)
            denoised = rule.run(replay.denoise, states, sigmas, noise, replay.stepped)
        kept.finish(denoised)
    finished, keyframes = start.finished(denoised)
    step = stage_step(guider.model, noise, rule, sigmas, members(finished), guider.tiles, held.placement)
    finished[MADE] = (*made_of(latent), step)
    return finished, None if keyframes is None else {**keyframes, MADE: finished[MADE]}


def asked_of(guider: Guider) -> dict[str, Any]:
    """What a guider asks, but for its texts: parts of a stage's content."""
    asked = ("model", "guidance", "tiles", "mask_rule")
    return {name: getattr(guider, name) for name in asked}


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
