"""Long video by overlapping tiles in time, as ComfyUI's node pack does it; video alone (pipelines.md section 16)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..samplers.community import SpatialPlan
from ..samplers.conditioning import ConditioningItem, Keyframe, LatentReplacement
from ..samplers.denoiser import Denoise
from ..samplers.long_video import Loop, LoopCall, sample_looping
from ..samplers.schedules import check_sigmas, step_range
from ..samplers.shapes import SCALE
from ..samplers.state import StreamState
from ..samplers.steps import StepCallback, StepReport
from ..samplers.streams import Streams
from .contexts import Conditioning
from .generations import generation_of, of_latent
from .guide import Guider
from .host.api import check_interrupted, io
from .kept_steps import KEEP_AFTER, keep_input
from .latents import FRAME_RATE, Latent, frame_rate_of, items_of, members, video_of, with_video_item
from .long import seeded, with_prompt
from .made import MADE, made_of
from .noise import NoiseSource, SeededNoise
from .rules import ChangedRule, StepRule
from .stage import run_stage


@dataclass(frozen=True, kw_only=True)
class CleanEnd(ChangedRule):
    """A rule that ends in its last clean prediction instead of in what is left of the noise."""

    def run(
        self,
        denoise: Denoise,
        states: Streams[StreamState],
        sigmas: Tensor,
        noise: NoiseSource,
        callback: StepCallback | None,
    ) -> Streams[Tensor]:
        predictions: list[Streams[Tensor]] = []

        def stepped(report: StepReport) -> Streams[Tensor] | None:
            predictions[:] = [report.x0]
            return None if callback is None else callback(report)

        self.rule.run(denoise, states, sigmas, noise, stepped)
        return predictions[0]


class SampleLooping(io.ComfyNode):
    """A long video in tiles, the way shared workflows do it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        overlap_tip = "Frames that two tiles share, a multiple of 8."
        return io.Schema(
            node_id="OpenLTXSampleLooping",
            display_name="Sample Looping (LTX)",
            category="OpenLTX/sampling",
            description="Community preset of long video: tiles of 80 frames, each given the end of the one before as a "
            "guide, and a control clip if there is one. For video alone; Sample Long Clip does picture and sound.",
            inputs=[
                io.Noise.Input("noise", tooltip="From Noise (LTX). Each tile has a seed of its own."),
                io.Guider.Input("guider", tooltip="From a guider node; with Mask Rule community as in the node pack."),
                io.Sampler.Input("sampler", tooltip="From Step Rule (LTX)."),
                io.Sigmas.Input("sigmas", tooltip="From a schedule node; of every tile."),
                io.Latent.Input("latent", tooltip="Video alone, of the whole length; may carry pictures at frames."),
                io.Int.Input("tile", default=80, min=16, max=1000, step=8, tooltip="Frames of a tile, multiple of 8."),
                io.Int.Input("overlap", default=24, min=8, max=80, step=8, tooltip=overlap_tip),
                _share("overlap_strength", 0.5, "How exactly a tile keeps the end of the one before."),
                _share("guide_strength", 1.0, "How exactly the control clip is kept as what is seen."),
                _share("statistics", 0.0, "Draws each tile's mean and contrast to the first one's; 0: off."),
                io.Int.Input("rows", default=1, min=1, max=16, tooltip="Tiles over the height."),
                io.Int.Input("columns", default=1, min=1, max=16, tooltip="Tiles over the width."),
                io.Int.Input(
                    "space_overlap",
                    default=3,
                    min=1,
                    max=64,
                    tooltip="Cells of 32 pixels that they share; 1 and 2: a hard cut.",
                ),
                io.Int.Input(
                    "guide_first_step", default=0, min=0, max=1000, tooltip="First step that sees guides, from 0."
                ),
                io.Int.Input(
                    "guide_last_step", default=0, min=0, max=1000, tooltip="Up to and without this step; 0: to the end."
                ),
                io.Latent.Input("guides", optional=True, tooltip="Control clip of an IC-LoRA, encoded, as long."),
                io.Latent.Input("context", optional=True, tooltip="Frames that every tile sees before its start."),
                io.Latent.Input("reference", optional=True, tooltip="Whose statistics each frame takes on instead."),
                io.Conditioning.Input(
                    "prompts", optional=True, tooltip="From Encode Prompts (LTX): one a tile, instead of one for all."
                ),
                keep_input(),
            ],
            outputs=[io.Latent.Output("latent", tooltip="The finished video latent.")],
        )

    @classmethod
    def execute(
        cls,
        noise: NoiseSource,
        guider: Guider,
        sampler: StepRule,
        sigmas: Tensor,
        latent: Latent,
        tile: int,
        overlap: int,
        overlap_strength: float,
        guide_strength: float,
        statistics: float,
        rows: int,
        columns: int,
        space_overlap: int,
        guide_first_step: int,
        guide_last_step: int,
        guides: Latent | None = None,
        context: Latent | None = None,
        reference: Latent | None = None,
        prompts: Conditioning | None = None,
        keep_after: int = KEEP_AFTER,
    ) -> io.NodeOutput:
        if members(latent).audio is not None:
            raise ValueError("latent: expected video alone, found sound beside it; use Sample Long Clip (LTX) for both")
        for name, other in (("guides", guides), ("context", context), ("reference", reference)):
            latent = latent if other is None else of_latent(latent, other, name)
        images, strength = pictures_of(items_of(latent).video or ())
        loop = Loop(
            tile=tile,
            overlap=overlap,
            overlap_strength=overlap_strength,
            guide_strength=guide_strength,
            image_strength=strength,
            statistics=statistics,
            spatial=SpatialPlan(rows=rows, columns=columns, overlap=space_overlap),
            images=images,
            guides=None if guides is None else fitting_guides(video_of(guides), video_of(latent)),
            context=None if context is None else video_of(context),
            reference=None if reference is None else video_of(reference),
            guide_steps=(guide_first_step, guide_last_step or None),
            seed=seeded(noise).seed,
        )
        values, rate = check_sigmas(sigmas), frame_rate_of(latent)
        made = list(made_of(latent))

        def sample(call: LoopCall) -> Tensor:
            check_interrupted()
            part: dict[str, Any] = {**generation_of(latent), "samples": call.latent, FRAME_RATE: rate}
            for item in call.items:
                part = with_video_item(part, item)
            steps, own = step_range(values, *call.steps), with_prompt(guider, prompts, call.index)
            own_noise, rule = SeededNoise(call.seed), CleanEnd(rule=sampler)
            finished, _ = run_stage(own_noise, own, rule, steps, part, keep_after=keep_after)
            made.extend(made_of(finished))
            return video_of(finished)

        whole = sample_looping(video_of(latent), loop, sample)
        return io.NodeOutput({**generation_of(latent), "samples": whole, FRAME_RATE: rate, MADE: tuple(made)})


def pictures_of(items: Iterable[ConditioningItem]) -> tuple[dict[int, Tensor], float]:
    """The pictures among the items by pixel frame, and their strength (1 without any).

    ValueError for other items, and for pictures of different strengths: all tiles have one.
    """
    images: dict[int, Tensor] = {}
    strengths: set[float] = set()
    for item in items:
        if not isinstance(item, Keyframe | LatentReplacement) or item.latent.shape[2] != 1:
            raise ValueError(
                f"looping: expected single pictures, found {type(item).__name__}; connect a control clip as `guides`, "
                "or use Sample Long Clip (LTX)"
            )
        at = item.frame if isinstance(item, Keyframe) else max((item.latent_frame - 1) * SCALE.time + 1, 0)
        images[at] = item.latent
        strengths.add(item.strength)
    if len(strengths) > 1:
        raise ValueError(f"looping: expected pictures of one strength, found {sorted(strengths)}; set them alike")
    return images, strengths.pop() if strengths else 1.0


def fitting_guides(guides: Tensor, latent: Tensor) -> Tensor:
    """A control clip for this latent; ValueError for one of other length, or not a whole number of times smaller."""
    height, width = guides.shape[3:]
    if guides.shape[2] != latent.shape[2] or latent.shape[3] % height or latent.shape[4] % width:
        raise ValueError(
            f"guides: expected a clip of {latent.shape[2]} latent frames and {tuple(latent.shape[3:])} cells or a "
            f"whole number of times fewer, found {guides.shape[2]} of {(height, width)}; encode it for this video"
        )
    return guides


def _share(name: str, default: float, tooltip: str) -> io.BaseInput:
    return io.Float.Input(name, default=default, min=0.0, max=1.0, step=0.01, tooltip=tooltip)
