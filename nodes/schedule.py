"""Schedules → SIGMAS."""

from __future__ import annotations

from ..samplers.schedules import DEFAULT_TOKENS, DISTILLED_SIGMAS, distilled_sigmas, ltx2_sigmas
from .host.api import io
from .latents import Latent, members


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
    ) -> io.NodeOutput:
        tokens = DEFAULT_TOKENS if latent is None else _tokens(latent)
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


def _tokens(latent: Latent) -> int:
    video = members(latent).video
    assert video is not None
    return video.shape[2:].numel()
