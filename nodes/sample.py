"""Sampling: one node for the common case, one for the open pieces."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ..model_loaders.parts import DiffusionModel, VideoPart
from ..samplers.guidance import Guidance
from ..samplers.streams import Streams
from .contexts import Conditioning
from .guide import Guider
from .host.api import io
from .kept_steps import KEEP_AFTER, keep_input
from .latents import Latent
from .noise import NoiseSource, SeededNoise
from .preview import preview_of
from .rules import NamedRule, StepRule
from .stage import run_stage


class Sample(io.ComfyNode):
    """The whole loop of one stage."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXSample",
            display_name="Sample (LTX)",
            category="OpenLTX/sampling",
            description="Denoises video and sound together with Euler's rule.",
            inputs=[
                io.Model.Input("model", tooltip="From Load LTX Model."),
                io.Conditioning.Input("positive", tooltip="What to show and to sound."),
                io.Latent.Input("latent", tooltip="Empty, or a latent to refine."),
                io.Sigmas.Input("sigmas", tooltip="From a schedule node."),
                io.Int.Input(
                    "noise_seed",
                    default=10,
                    min=0,
                    max=2**64 - 1,
                    control_after_generate=True,
                    tooltip="The same seed and settings give the same result on the same machine.",
                ),
                io.Float.Input(
                    "video_cfg",
                    default=3.0,
                    tooltip="Text guidance of the picture; 1: none, and half the time if the sound has none either.",
                    min=0.0,
                    max=50.0,
                    step=0.1,
                ),
                io.Float.Input(
                    "audio_cfg",
                    default=7.0,
                    min=0.0,
                    max=50.0,
                    step=0.1,
                    tooltip="Text guidance of the sound; 1: none.",
                ),
                io.Conditioning.Input(
                    "negative", optional=True, tooltip="What to stay away from; needed for guidance above 1."
                ),
                io.Vae.Input(
                    "preview_vae",
                    optional=True,
                    tooltip="A video VAE: every step then shows small frames.",
                ),
                keep_input(),
            ],
            outputs=[io.Latent.Output("latent", tooltip="Video and audio latent.")],
        )

    @classmethod
    def execute(
        cls,
        model: DiffusionModel,
        positive: Conditioning,
        latent: Latent,
        sigmas: Tensor,
        noise_seed: int,
        video_cfg: float,
        audio_cfg: float,
        negative: Conditioning | None = None,
        preview_vae: VideoPart | None = None,
        keep_after: int = KEEP_AFTER,
    ) -> io.NodeOutput:
        guidance = Streams(video=Guidance(cfg=video_cfg), audio=Guidance(cfg=audio_cfg))
        guider = Guider(model=model, positive=positive, negative=negative, guidance=guidance)
        if preview_vae is not None:
            guider = replace(guider, preview=preview_of(model, preview_vae, None))
        noise, rule = SeededNoise(noise_seed), NamedRule(name="euler")
        finished, _ = run_stage(noise, guider, rule, sigmas, latent, keep_after=keep_after)
        return io.NodeOutput(finished)


class SampleStage(io.ComfyNode):
    """One stage from its pieces."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXSampleStage",
            display_name="Sample Stage (LTX)",
            category="OpenLTX/sampling",
            description="Denoises a latent with any noise, guider, step rule and sigmas; its items take part.",
            inputs=[
                io.Noise.Input("noise", tooltip="From Noise (LTX), or ComfyUI's RandomNoise."),
                io.Guider.Input("guider", tooltip="From Guider (LTX) or Preset Guider (LTX)."),
                io.Sampler.Input("sampler", tooltip="From Step Rule (LTX)."),
                io.Sigmas.Input("sigmas", tooltip="From a schedule node; the first value is the level of noise."),
                io.Latent.Input("latent", tooltip="Empty, with conditioning, or a latent to refine."),
                keep_input(),
            ],
            outputs=[
                io.Latent.Output("latent", tooltip="The finished latent; its conditioning items are used up."),
                io.Latent.Output("keyframes", tooltip="Generated keyframes (LTX-2.5), if the latent had slots."),
            ],
        )

    @classmethod
    def execute(
        cls,
        noise: NoiseSource,
        guider: Guider,
        sampler: StepRule,
        sigmas: Tensor,
        latent: Latent,
        keep_after: int = KEEP_AFTER,
    ) -> io.NodeOutput:
        finished, keyframes = run_stage(noise, guider, sampler, sigmas, latent, keep_after=keep_after)
        return io.NodeOutput(finished, keyframes)
