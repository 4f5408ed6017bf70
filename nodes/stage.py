"""One stage: noise, guider, step rule, sigmas and latent become a latent (spec pipelines.md 1.1)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from ..model_loaders.parts import DiffusionModel
from ..networks.transformer import Transformer
from ..samplers.community import CommunityDenoiser, community_noised
from ..samplers.denoiser import Denoiser
from ..samplers.schedules import check_sigmas
from ..samplers.state import StreamState, noised
from ..samplers.steps import StepReport
from ..samplers.streams import Streams
from ..samplers.tiled_predict import tiled_predict
from .contexts import contexts_of
from .guide import Guider
from .host.api import compute_device, output_file, progress, warn_user
from .latents import (
    Latent,
    members,
)
from .noise import NoiseSource
from .predictor import Texts, activation_bytes, predictor
from .rules import StepRule
from .start import start_of

# How a fractional mask is read: what the start is, and what an evaluation sees (spec sampling.md 9.3).
MASK_RULES = {"official": (noised, Denoiser), "community": (community_noised, CommunityDenoiser)}


def run_stage(
    noise: NoiseSource, guider: Guider, rule: StepRule, sigmas: Tensor, latent: Latent
) -> tuple[Latent, Latent | None]:
    """The finished latent, and the generated keyframes (B, C, K, H, W) if the stage had slots for some.

    The start is the latent with its items, noised to the first sigma: 1 for a fresh stage, less for a refinement.
    """
    sigmas = check_sigmas(sigmas)
    warn_of_guided_distilled(guider)
    start = start_of(latent, guider.positive, guider.model, compute_device())
    noised_by, denoiser = MASK_RULES[guider.mask_rule]
    states = start.states.map(lambda state, drawn: noised_by(state, drawn, sigmas[0]), start.noise(noise))
    transformer = _transformer(guider.model, states)
    texts = stage_texts(guider, states)
    denoise = denoiser(
        states,
        guider.guidance,
        tiled_predict(partial(predictor, transformer, texts), states, guider.tiles),
        negative=texts.negative.map(lambda _: True),
        unconditioned=rule.needs_unconditioned,
    )

    with _LastGood(len(sigmas) - 1, start.finished) as steps:
        denoised = rule.run(denoise, states, sigmas, noise, steps)
    return start.finished(denoised)


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


def stage_texts(guider: Guider, states: Streams[StreamState]) -> Texts:
    """The contexts of the streams. A frozen stream reads its positive text in every pass: it has nothing to guide."""
    positive = contexts_of(guider.positive, guider.model, "positive")
    negative: Streams[Tensor] = Streams()
    if guider.negative is not None:
        negative = contexts_of(guider.negative, guider.model, "negative")

    def unfrozen(state: StreamState, context: Tensor | None) -> Any:
        return None if state.frozen else context

    return Texts(positive=positive, negative=states.map(unfrozen, negative))
