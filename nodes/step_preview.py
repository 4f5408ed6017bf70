"""A guider → the same, with a picture of every step."""

from __future__ import annotations

from dataclasses import replace

from ..model_loaders.parts import AudioPart, VideoPart
from .guide import Guider
from .host.api import io
from .preview import preview_of


class StepPreview(io.ComfyNode):
    """Step previews for a stage."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXStepPreview",
            display_name="Step Preview (LTX)",
            category="OpenLTX/sampling",
            description="Shows a strip of small frames and the loudness of the sound at each step, by a small matrix a "
            "VAE. It is fitted to a few decoded pictures when it is first used, and costs next to nothing then.",
            inputs=[
                io.Guider.Input("guider", tooltip="From a guider node."),
                io.Vae.Input("video_vae", optional=True, tooltip="Of the model's generation; none: no pictures."),
                io.Vae.Input("audio_vae", optional=True, tooltip="Of the model's generation; none: no curve."),
            ],
            outputs=[io.Guider.Output("guider", tooltip="For Sample Stage, Sample Tiles or Sample Long Clip (LTX).")],
        )

    @classmethod
    def execute(
        cls, guider: Guider, video_vae: VideoPart | None = None, audio_vae: AudioPart | None = None
    ) -> io.NodeOutput:
        return io.NodeOutput(replace(guider, preview=preview_of(guider.model, video_vae, audio_vae)))
