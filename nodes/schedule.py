"""Schedules → SIGMAS."""

from __future__ import annotations

from torch import Tensor

from ..model_loaders.parts import DiffusionModel
from ..samplers.schedules import (
    DEFAULT_TOKENS,
    DISTILLED_SIGMAS,
    beta_sigmas,
    distilled_sigmas,
    linear_quadratic_sigmas,
    ltx2_sigmas,
    manual_sigmas,
    sigmas_from,
    step_range,
)
from .host.api import io
from .latents import Latent, video_of


class Schedule(io.ComfyNode):
    """The token-shifted schedule of full ("dev") models."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXSchedule",
            display_name="Schedule (LTX)",
            category="OpenLTX/sampling",
            description="The shifted schedule of full models. Distilled models take their fixed table instead.",
            inputs=[
                io.Int.Input("steps", default=30, min=1, max=1000, tooltip="Steps; official: 30, LTX-2: 40."),
                io.Float.Input(
                    "max_shift", default=2.05, min=-10.0, max=20.0, step=0.01, tooltip="Shift at 4096 tokens."
                ),
                io.Float.Input(
                    "base_shift", default=0.95, min=-10.0, max=20.0, step=0.01, tooltip="Shift at 1024 tokens."
                ),
                io.Boolean.Input("stretch", default=True, tooltip="Stretch the last value to `terminal`."),
                io.Float.Input(
                    "terminal", default=0.1, min=0.0, max=0.99, step=0.01, tooltip="Last sigma before 0, if stretched."
                ),
                io.Latent.Input(
                    "latent",
                    optional=True,
                    tooltip="Shift by this latent's size. Most official recipes leave it open (4096 tokens).",
                ),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="A model whose file asks for a shift of its own gets that one, as the embedded model does.",
                ),
            ],
            outputs=[io.Sigmas.Output("sigmas", tooltip="steps + 1 values from 1 to 0.")],
        )

    @classmethod
    def execute(
        cls,
        steps: int,
        max_shift: float,
        base_shift: float,
        stretch: bool,
        terminal: float,
        latent: Latent | None = None,
        model: DiffusionModel | None = None,
    ) -> io.NodeOutput:
        tokens = DEFAULT_TOKENS if latent is None else _tokens(latent)
        if model is not None and model.shift is not None:
            max_shift, base_shift, stretch = model.shift.max_shift, model.shift.base_shift, model.shift.stretch
        sigmas = ltx2_sigmas(
            steps, tokens=tokens, max_shift=max_shift, base_shift=base_shift, stretch=stretch, terminal=terminal
        )
        return io.NodeOutput(sigmas)


class DistilledSchedule(io.ComfyNode):
    """The fixed tables of distilled models."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXDistilledSchedule",
            display_name="Distilled Schedule (LTX)",
            category="OpenLTX/sampling",
            description="The fixed sigmas that distilled models and refinement stages were made for.",
            inputs=[
                io.Combo.Input(
                    "table",
                    options=list(DISTILLED_SIGMAS),
                    default="stage 1",
                    tooltip="stage 1: 8 steps from noise; stage 2: 3 steps that refine an upscaled latent.",
                )
            ],
            outputs=[io.Sigmas.Output("sigmas", tooltip="The table's values.")],
        )

    @classmethod
    def execute(cls, table: str) -> io.NodeOutput:
        return io.NodeOutput(distilled_sigmas(table))


class NamedSchedule(io.ComfyNode):
    """Other schedules, and values by hand."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXNamedSchedule",
            display_name="Other Schedule (LTX)",
            category="OpenLTX/sampling",
            description="Linear-quadratic, beta, or values by hand.",
            inputs=[
                io.Combo.Input(
                    "schedule",
                    options=["linear_quadratic", "beta", "manual"],
                    default="linear_quadratic",
                    tooltip="Kind of curve; manual: your own values.",
                ),
                io.Int.Input("steps", default=20, min=1, max=1000, tooltip="Steps; not for manual."),
                io.String.Input(
                    "values",
                    default="1, 0.75, 0.5, 0.25, 0",
                    tooltip="manual: falling sigmas, commas between them; 1 is all noise, 0 none.",
                ),
            ],
            outputs=[io.Sigmas.Output("sigmas", tooltip="Falling values.")],
        )

    @classmethod
    def execute(cls, schedule: str, steps: int, values: str) -> io.NodeOutput:
        if schedule == "manual":
            return io.NodeOutput(manual_sigmas(values))
        return io.NodeOutput(beta_sigmas(steps) if schedule == "beta" else linear_quadratic_sigmas(steps))


class SchedulePart(io.ComfyNode):
    """A range of steps, or a later start."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXSchedulePart",
            display_name="Schedule Part (LTX)",
            category="OpenLTX/sampling",
            description="Some steps of a schedule, or what of it lies below a start sigma (a refinement stage).",
            inputs=[
                io.Sigmas.Input("sigmas", tooltip="A schedule."),
                io.Int.Input("first", default=0, min=0, max=1000, tooltip="First step, from 0."),
                io.Int.Input("last", default=0, min=0, max=1000, tooltip="Up to and without this step; 0: to the end."),
                io.Float.Input(
                    "start_sigma", default=0.0, min=0.0, max=1.0, step=0.001, tooltip="Begin here instead; 0: off."
                ),
            ],
            outputs=[io.Sigmas.Output("sigmas", tooltip="The part.")],
        )

    @classmethod
    def execute(cls, sigmas: Tensor, first: int, last: int, start_sigma: float) -> io.NodeOutput:
        part = step_range(sigmas, first, last or None)
        return io.NodeOutput(sigmas_from(part, start_sigma) if start_sigma else part)


def _tokens(latent: Latent) -> int:
    return video_of(latent).shape[2:].numel()
