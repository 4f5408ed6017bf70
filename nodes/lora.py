"""LoRA: model → model."""

from __future__ import annotations

from ..model_loaders.lora.model import with_lora
from ..model_loaders.lora.strengths import LoraStrengths, parse_block_ranges
from ..model_loaders.lora.text import with_text_lora
from ..model_loaders.parts import DiffusionModel, TextPart
from .host.api import io, model_files
from .named_files import chosen

LIMIT = 10.0


class LoadLora(io.ComfyNode):
    """One LoRA more for a model; chain several."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXLoadLora",
            display_name="Load LoRA (LTX)",
            category="OpenLTX/loaders",
            description="Adds a LoRA to a model: merged into full-precision weights, applied at run time to quantised.",
            inputs=[
                io.Model.Input("model", tooltip="From a loader, or from another Load LoRA (LTX)."),
                io.Combo.Input("lora", options=model_files("loras"), tooltip="Of the model's generation."),
                _strength("strength", "Of the whole LoRA; may be negative."),
                _strength("video", "Factor for the layers of the video stream."),
                _strength("audio", "Factor for the layers of the audio stream."),
                _strength("audio_to_video", "Factor for what the video reads from the sound."),
                _strength("video_to_audio", "Factor for what the sound reads from the video."),
                io.String.Input(
                    "blocks", default="", tooltip="Factors for ranges of blocks, for instance 0-9=0.5, 40-47=0."
                ),
            ],
            outputs=[
                io.Model.Output("model", tooltip="The model with the LoRA."),
                io.Int.Output("space_factor", tooltip="Of an IC-LoRA: how much smaller its reference is."),
                io.Int.Output("time_factor", tooltip="Of an IC-LoRA: how many frames one of its reference stands for."),
                io.String.Output("report", tooltip="Rank, layers applied, keys ignored."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: DiffusionModel,
        lora: str,
        strength: float,
        video: float,
        audio: float,
        audio_to_video: float,
        video_to_audio: float,
        blocks: str,
    ) -> io.NodeOutput:
        strengths = LoraStrengths(
            video=video,
            audio=audio,
            audio_to_video=audio_to_video,
            video_to_audio=video_to_audio,
            blocks=parse_block_ranges(blocks),
        )
        adapted, report = with_lora(model, chosen("loras", lora), strengths.scaled(strength))
        factors = (report.reference_downscale_factor, report.reference_temporal_scale_factor)
        return io.NodeOutput(adapted, *factors, str(report))


class LoadTextLora(io.ComfyNode):
    """One LoRA more for a text encoder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXLoadTextLora",
            display_name="Load Text Encoder LoRA (LTX)",
            category="OpenLTX/loaders",
            description="Adds a LoRA to Gemma, the text projection and the connectors. What a file holds for the "
            "transformer is left to Load LoRA (LTX).",
            inputs=[
                io.Clip.Input("text_encoder", tooltip="From a loader, or from another node of this kind."),
                io.Combo.Input("lora", options=model_files("loras"), tooltip="With layers of a text encoder."),
                _strength("strength", "Of the LoRA; may be negative."),
            ],
            outputs=[
                io.Clip.Output("text_encoder", tooltip="The text encoder with the LoRA."),
                io.String.Output("report", tooltip="Rank, layers applied, keys ignored."),
            ],
        )

    @classmethod
    def execute(cls, text_encoder: TextPart, lora: str, strength: float) -> io.NodeOutput:
        adapted, report = with_text_lora(text_encoder, chosen("loras", lora), strength)
        return io.NodeOutput(adapted, str(report))


def _strength(name: str, tooltip: str) -> io.BaseInput:
    return io.Float.Input(name, default=1.0, min=-LIMIT, max=LIMIT, step=0.05, tooltip=tooltip)
