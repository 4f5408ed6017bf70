"""A step rule → the same, with a change in each step (spec pipelines.md section 18)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..samplers.denoiser import Denoise
from ..samplers.long_video import Target
from ..samplers.state import StreamState
from ..samplers.step_changes import HELD_BACK, SteadyX0, scaled_after
from ..samplers.steps import StepCallback
from ..samplers.streams import Streams
from .host.api import io
from .latents import Latent, members
from .noise import NoiseSource
from .rules import ChangedRule, StepRule

PER_STEP = "Factors by step, commas between them; the last one holds for all further steps; empty: leaves it alone."


@dataclass(frozen=True, kw_only=True)
class SteadyRule(ChangedRule):
    """A rule on clean predictions that are drawn to statistics."""

    steady: SteadyX0 = field(repr=False)

    def run(
        self,
        denoise: Denoise,
        states: Streams[StreamState],
        sigmas: Tensor,
        noise: NoiseSource,
        callback: StepCallback | None,
    ) -> Streams[Tensor]:
        return self.rule.run(self.steady.over(denoise, states), states, sigmas, noise, callback)


@dataclass(frozen=True, kw_only=True)
class ScaledRule(ChangedRule):
    """A rule whose latents are multiplied after each step."""

    factors: Streams[Sequence[float]]

    def run(
        self,
        denoise: Denoise,
        states: Streams[StreamState],
        sigmas: Tensor,
        noise: NoiseSource,
        callback: StepCallback | None,
    ) -> Streams[Tensor]:
        return self.rule.run(denoise, states, sigmas, noise, scaled_after(self.factors, states, callback))


class SteadySteps(io.ComfyNode):
    """Against colours and loudness that drift from step to step."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXSteadySteps",
            display_name="Steady Steps (LTX)",
            category="OpenLTX/sampling",
            description="Draws mean and contrast of each step's clean prediction to those of a reference, or to fixed "
            "ones; per channel, a factor a step.",
            inputs=[
                io.Sampler.Input("sampler", tooltip="From Step Rule (LTX)."),
                io.String.Input("video_factors", default="0.9, 0.75, 0", tooltip=f"{PER_STEP} Of the picture, 0 to 1."),
                io.String.Input("audio_factors", default="", tooltip=f"{PER_STEP} Of the sound, 0 to 1."),
                io.Float.Input(
                    "mean",
                    default=0.0,
                    min=-10.0,
                    max=10.0,
                    step=0.01,
                    tooltip="Mean of the latent to reach, without reference.",
                ),
                io.Float.Input(
                    "std",
                    default=1.0,
                    min=0.01,
                    max=10.0,
                    step=0.01,
                    tooltip="Standard deviation of the latent to reach, without reference.",
                ),
                io.Float.Input(
                    "percentile",
                    default=95.0,
                    min=1.0,
                    max=100.0,
                    step=0.1,
                    tooltip="Percent of the values, from the middle, that count; without reference.",
                ),
                io.Latent.Input("reference", optional=True, tooltip="A latent whose mean and contrast are the goal."),
            ],
            outputs=[io.Sampler.Output("sampler", tooltip="For Sample Stage (LTX).")],
        )

    @classmethod
    def execute(
        cls,
        sampler: StepRule,
        video_factors: str,
        audio_factors: str,
        mean: float,
        std: float,
        percentile: float,
        reference: Latent | None = None,
    ) -> io.NodeOutput:
        steady = SteadyX0(
            factors=_factors(video_factors, audio_factors),
            reference=Streams() if reference is None else members(reference),
            target=Target(mean=mean, std=std, percentile=percentile),
        )
        return io.NodeOutput(SteadyRule(rule=sampler, steady=steady))


class ScaleSteps(io.ComfyNode):
    """Against sound, or pictures, that grow too strong."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXScaleSteps",
            display_name="Scale Steps (LTX)",
            category="OpenLTX/sampling",
            description="Multiplies the latents after each step, as ComfyUI's normalising sampler does with the sound.",
            inputs=[
                io.Sampler.Input("sampler", tooltip="From Step Rule (LTX)."),
                io.String.Input("video_factors", default="", tooltip=f"{PER_STEP} Of the picture; 1: unchanged."),
                io.String.Input(
                    "audio_factors",
                    default=", ".join(f"{factor:g}" for factor in HELD_BACK),
                    tooltip=f"{PER_STEP} Of the sound; 1: unchanged.",
                ),
            ],
            outputs=[io.Sampler.Output("sampler", tooltip="For Sample Stage (LTX).")],
        )

    @classmethod
    def execute(cls, sampler: StepRule, video_factors: str, audio_factors: str) -> io.NodeOutput:
        return io.NodeOutput(ScaledRule(rule=sampler, factors=_factors(video_factors, audio_factors)))


def _factors(video: str, audio: str) -> Streams[Any]:
    return Streams(video=_numbers(video), audio=_numbers(audio))


def _numbers(text: str) -> tuple[float, ...] | None:
    words = text.replace(",", " ").split()
    try:
        return tuple(float(word) for word in words) or None
    except ValueError as error:
        raise ValueError(f"factors: expected numbers with commas between them, found {text!r}") from error
