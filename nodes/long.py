"""Long clips: segment by segment, picture and sound together (samplers/long_video)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from ..model_loaders.parts import TextPart
from ..samplers.long_video import NOTHING, Handover, LongClip, Segment, SegmentItems, plan_segments
from ..samplers.streams import Streams
from .conditioning import EncodedByHost, EncodePrompt
from .contexts import Conditioning
from .generations import generation_of, of_latent
from .guide import Guider
from .host.api import check_interrupted, io
from .kept_steps import KEEP_AFTER, keep_input
from .last_good import save_latent
from .latents import FRAME_RATE, Latent, frame_rate_of, items_of, joined, layout_of, members, with_items, without_items
from .made import MADE, made_of
from .noise import NoiseSource, SeededNoise
from .rules import StepRule
from .stage import run_stage


class EncodePrompts(io.ComfyNode):
    """Several prompts → conditioning with one entry each, for the segments of a long clip."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXEncodePrompts",
            display_name="Encode Prompts (LTX)",
            category="OpenLTX/conditioning",
            description="One prompt a segment of a long clip. The last one holds for all further segments.",
            inputs=[
                io.Clip.Input("text_encoder", tooltip="From Load LTX Model."),
                io.String.Input(
                    "texts", default="", multiline=True, tooltip="Prompts, with a line of three dashes (---) between."
                ),
            ],
            outputs=[io.Conditioning.Output("prompts", tooltip="For Sample Long Clip (LTX).")],
        )

    @classmethod
    def execute(cls, text_encoder: TextPart | EncodedByHost, texts: str) -> io.NodeOutput:
        entries: Conditioning = []
        for text in split_prompts(texts):
            entries += EncodePrompt.execute(text_encoder, text).args[0]
        return io.NodeOutput(entries)


class SampleLong(io.ComfyNode):
    """A clip of any length from segments of a length that the model can do."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXSampleLong",
            display_name="Sample Long Clip (LTX)",
            category="OpenLTX/sampling",
            description="Denoises a long latent in segments; each goes on from the end of the last one, in picture and "
            "sound. With a beginning, it extends a clip. Conditioning of the latent counts in its whole time.",
            inputs=[
                io.Noise.Input("noise", tooltip="From Noise (LTX). Each segment has a seed of its own."),
                io.Guider.Input("guider", tooltip="From a guider node; tiled ones too."),
                io.Sampler.Input("sampler", tooltip="From Step Rule (LTX)."),
                io.Sigmas.Input("sigmas", tooltip="From a schedule node; of every segment."),
                io.Latent.Input("latent", tooltip="Of the whole length, empty or to refine."),
                io.Float.Input(
                    "segment_seconds",
                    default=5.0,
                    min=0.1,
                    max=60.0,
                    step=0.1,
                    tooltip="Seconds of a segment, at most.",
                ),
                io.Float.Input(
                    "overlap_seconds",
                    default=1.0,
                    min=0.04,
                    max=30.0,
                    step=0.01,
                    tooltip="Seconds that segments share.",
                ),
                io.Float.Input(
                    "audio_overlap_seconds",
                    default=1.0,
                    min=0.0,
                    max=30.0,
                    step=0.01,
                    tooltip="Seconds of sound that a segment is given of the one before; more than the overlap "
                    "reaches back before the segment.",
                ),
                io.Float.Input(
                    "overlap_strength",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How exactly the picture goes on; 1 also repeats small faults.",
                ),
                io.Float.Input(
                    "audio_strength", default=1.0, min=0.0, max=1.0, step=0.01, tooltip="1: the sound goes on exactly."
                ),
                io.Float.Input(
                    "drift_control",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Draws mean and contrast of each segment's latents to the first one's; 0: off.",
                ),
                io.Conditioning.Input(
                    "prompts",
                    optional=True,
                    tooltip="From Encode Prompts (LTX): one a segment, instead of one for all.",
                ),
                io.Latent.Input(
                    "beginning",
                    optional=True,
                    tooltip="A finished clip that is the start of the long one; its end is blended.",
                ),
                keep_input(),
            ],
            outputs=[io.Latent.Output("latent", tooltip="The finished latent of the whole length.")],
        )

    @classmethod
    def execute(
        cls,
        noise: NoiseSource,
        guider: Guider,
        sampler: StepRule,
        sigmas: Tensor,
        latent: Latent,
        segment_seconds: float,
        overlap_seconds: float,
        audio_overlap_seconds: float,
        overlap_strength: float,
        audio_strength: float,
        drift_control: float,
        prompts: Conditioning | None = None,
        beginning: Latent | None = None,
        keep_after: int = KEEP_AFTER,
    ) -> io.NodeOutput:
        drift = Streams(video=drift_control, audio=drift_control)
        clip = LongClip(
            start=members(latent),
            layout=layout_of(latent),
            items=items_of(latent),
            beginning=None if beginning is None else fitting_beginning(beginning, latent),
            handover=Handover(video=overlap_strength, audio=audio_strength, drift=drift),
        )
        segments = plan_segments(
            latent_frames(clip.start),
            clip.layout.fps,
            seconds=segment_seconds,
            overlap=overlap_seconds,
            audio_overlap=audio_overlap_seconds,
            begun=NOTHING if clip.beginning is None else latent_frames(clip.beginning),
        )
        seeds, steps = seeded(noise), list(made_of(latent) + made_of(beginning))

        def sample(segment: Segment, start: Streams[Tensor], items: Streams[SegmentItems]) -> Streams[Tensor]:
            check_interrupted()
            part = {**generation_of(latent), "samples": joined(start), FRAME_RATE: clip.layout.fps}
            part = with_items(part, items)
            own_noise, own_guider = segment_noise(seeds, segment), with_prompt(guider, prompts, segment.index)
            finished, _ = run_stage(own_noise, own_guider, sampler, sigmas, part, keep_after=keep_after)
            steps.extend(made_of(finished))
            return members(finished)

        rest = without_items(latent)
        made: list[Streams[Tensor]] = []
        try:
            for whole in clip.grown(segments, sample):
                made.append(whole)
        except FloatingPointError as error:
            raise broken_segment(error, made, len(segments)) from error
        return io.NodeOutput({**rest, "samples": joined(made[-1]), MADE: tuple(steps)})


def broken_segment(error: FloatingPointError, made: Sequence[Streams[Tensor]], total: int) -> FloatingPointError:
    """The error with the segment's number; what the segments before it have made is left on disk."""
    text = f"segment {len(made) + 1} of {total}: {error}"
    if made:
        text += f"; the segments before it are in {save_latent({'samples': joined(made[-1])}, {})}"
    return FloatingPointError(text)


def split_prompts(texts: str) -> list[str]:
    """The prompts between lines of three dashes; ValueError where one is empty."""
    prompts, lines = [], texts.splitlines()
    while True:
        end = next((i for i, line in enumerate(lines) if line.strip() == "---"), len(lines))
        prompts.append("\n".join(lines[:end]).strip())
        if end == len(lines):
            break
        lines = lines[end + 1 :]
    if not all(prompts):
        raise ValueError(f"prompts: expected a text in each of {len(prompts)} parts, found an empty one; remove a ---")
    return prompts


def with_prompt(guider: Guider, prompts: Conditioning | None, segment: int) -> Guider:
    """The guider of a segment: with its own prompt, or the last one that there is."""
    if not prompts:
        return guider
    return replace(guider, positive=[prompts[min(segment, len(prompts) - 1)]])


def seeded(noise: NoiseSource) -> SeededNoise:
    """`noise` as one with a seed, which segments vary; ValueError for a source without."""
    if not isinstance(noise, SeededNoise):
        raise ValueError(
            f"noise: expected noise from a seed, which every segment varies, found {type(noise).__name__}; use Noise "
            "(LTX)"
        )
    return noise


def latent_frames(pair: Streams[Tensor]) -> Streams[int]:
    """How many latent frames the streams have."""
    return pair.map(lambda latent: latent.shape[2])


def segment_noise(noise: SeededNoise, segment: Segment) -> SeededNoise:
    """Noise of a segment: the seed plus its first latent frame, so that no two segments begin alike."""
    return SeededNoise(noise.seed + segment.video[0])


def fitting_beginning(beginning: Latent, whole: Latent) -> Streams[Tensor]:
    """The latents of a clip that is continued; ValueError where it is of another size, rate or kind."""
    of_latent(whole, beginning, "beginning")
    found, expected = members(beginning), members(whole)

    def described(pair: Streams[Tensor]) -> str:
        return " and ".join(str((*latent.shape[:2], "n", *latent.shape[3:])) for latent in pair.present())

    if described(found) != described(expected) or frame_rate_of(beginning) != frame_rate_of(whole):
        raise ValueError(
            f"beginning: expected latents {described(expected)} at {frame_rate_of(whole):g} frames a second like the "
            f"whole, found {described(found)} at {frame_rate_of(beginning):g}; use one size and rate for both"
        )
    return found
