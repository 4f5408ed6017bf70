"""The memory plan of a stage as a node: what it will need here, and a way to choose otherwise."""

from __future__ import annotations

from dataclasses import replace

from ..model_loaders.parts import DiffusionModel
from ..model_loaders.placement import Placement
from ..plan.choose import PHASES, make_plan
from ..plan.machine import this_machine
from ..plan.phases import Job
from ..plan.sizes import model_sizes
from .host.api import compute_device, io
from .latents import Latent, members

AUTO = -1
PLACES = ("auto", "resident", "streamed")


class MemoryPlan(io.ComfyNode):
    """Model and latent → the plan, and the model that follows it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXMemoryPlan",
            display_name="Memory Plan (LTX)",
            category="OpenLTX/loaders",
            description="Says what sampling a latent needs on this machine. Stages plan for themselves: connect the "
            "model it gives only to change something.",
            inputs=[
                io.Model.Input("model", tooltip="The model that will sample, with its LoRAs."),
                io.Latent.Input("latent", tooltip="The latent, at the size of the stage."),
                io.Int.Input(
                    "passes",
                    default=2,
                    min=1,
                    max=4,
                    tooltip="Guidance passes a step: 1 distilled, 2 with text guidance, up to 4 with STG and modality.",
                ),
                io.Int.Input("steps", default=8, min=1, max=1000, tooltip="Steps, for the predicted time."),
                io.Combo.Input(
                    "placement",
                    options=list(PLACES),
                    default=PLACES[0],
                    tooltip="auto: the fastest that fits; streamed: blocks come one by one. ComfyUI places by itself.",
                ),
                io.Int.Input(
                    "resident_blocks",
                    default=AUTO,
                    min=AUTO,
                    max=256,
                    optional=True,
                    tooltip="Blocks that stay on the device while others are streamed; -1: as the plan finds.",
                ),
                io.Int.Input(
                    "passes_at_once",
                    default=AUTO,
                    min=AUTO,
                    max=4,
                    optional=True,
                    tooltip="Guidance passes in one batch; -1: as the plan finds. 1 needs least memory.",
                ),
                io.Int.Input(
                    "feed_forward_chunk",
                    default=AUTO,
                    min=AUTO,
                    max=65536,
                    optional=True,
                    tooltip="Tokens that a feed-forward takes at once; 0: all, -1: what suits the device.",
                ),
            ],
            outputs=[
                io.Model.Output("model", tooltip="The model, held as chosen here."),
                io.String.Output("plan", tooltip="Memory and time, one line a phase."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: DiffusionModel,
        latent: Latent,
        passes: int,
        steps: int,
        placement: str,
        resident_blocks: int = AUTO,
        passes_at_once: int = AUTO,
        feed_forward_chunk: int = AUTO,
    ) -> io.NodeOutput:
        dtype = model.transformer.dtype
        sizes = model_sizes(model.file, model.path.name, model.generation or "", dtype, loras=bool(model.loras))
        pair = members(latent)
        job = Job(
            grid=(1, 1, 1) if pair.video is None else (pair.video.shape[2], pair.video.shape[3], pair.video.shape[4]),
            sound=0 if pair.audio is None else pair.audio.shape[2],
            passes=passes,
            evaluations=steps,
        )
        found = make_plan(sizes, job, this_machine(compute_device()))
        own = found.way(PHASES[1]).placement
        assert own is not None
        chosen = _changed(own, placement, resident_blocks, passes_at_once, feed_forward_chunk, len(sizes.blocks))
        lines = found.lines()
        if chosen != own:
            lines.append(f"chosen otherwise: {chosen}")
        return io.NodeOutput(replace(model, placement=chosen), "\n".join(lines))


def _changed(own: Placement, place: str, resident: int, passes: int, chunk: int, blocks: int) -> Placement:
    """The plan's placement with what the user wants otherwise. ValueError for more blocks than there are."""
    if resident > blocks:
        raise ValueError(f"resident_blocks: expected at most the {blocks} blocks of the model, found {resident}")
    if place == "resident":
        own = replace(own, resident_blocks=None)
    elif place == "streamed" or resident != AUTO:
        own = replace(own, resident_blocks=resident if resident != AUTO else own.resident_blocks or 0)
    if passes != AUTO:
        own = replace(own, passes_at_once=max(1, passes))
    return own if chunk == AUTO else replace(own, feed_forward_chunk=chunk)
