"""A negative prompt for distilled models (Chen et al. 2025, arXiv 2505.21179)."""

from __future__ import annotations

from dataclasses import replace

from ..samplers.guidance import Nag
from ..samplers.streams import Streams
from .contexts import Conditioning
from .guide import Guider
from .host.api import io


class NegativePrompt(io.ComfyNode):
    """A guider → the same, with a negative prompt that costs no pass."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXNegativePrompt",
            display_name="Negative Prompt without CFG (LTX)",
            category="OpenLTX/sampling",
            description="Normalised attention guidance (NAG): moves each block's attention to the text away from that "
            "to a negative text. For distilled models, whose guidance is 1; only the text attention runs twice.",
            inputs=[
                io.Guider.Input("guider", tooltip="From a guider node."),
                io.Conditioning.Input("negative", tooltip="What to stay away from."),
                io.Float.Input(
                    "video_scale",
                    default=5.0,
                    min=0.0,
                    max=50.0,
                    step=0.1,
                    tooltip="Strength for the picture; 0: none.",
                ),
                io.Float.Input(
                    "audio_scale", default=5.0, min=0.0, max=50.0, step=0.1, tooltip="Strength for the sound; 0: none."
                ),
                io.Float.Input(
                    "limit",
                    default=2.5,
                    min=1.0,
                    max=10.0,
                    step=0.1,
                    tooltip="How many times longer than before a token may become (tau).",
                ),
                io.Float.Input(
                    "share",
                    default=0.25,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Share of the moved attention in the result (alpha); 0: none.",
                ),
            ],
            outputs=[io.Guider.Output("guider", tooltip="For Sample Stage (LTX).")],
        )

    @classmethod
    def execute(
        cls,
        guider: Guider,
        negative: Conditioning,
        video_scale: float,
        audio_scale: float,
        limit: float,
        share: float,
    ) -> io.NodeOutput:
        scales = Streams(video=video_scale, audio=audio_scale)
        nag = scales.map(lambda scale: Nag(scale=scale, limit=limit, share=share))
        return io.NodeOutput(replace(guider, negative=negative, nag=nag))
