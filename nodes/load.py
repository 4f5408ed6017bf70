"""Loading: file → model, text encoder, video VAE, audio VAE."""

from __future__ import annotations

from typing import Any, Literal

import torch

from ..model_loaders.doctor import ROLES
from ..model_loaders.one_stream import only_stream
from ..model_loaders.parts import (
    DiffusionModel,
    open_audio,
    open_model,
    open_parts,
    open_text,
    open_upscaler,
    open_video,
    refuse_mixed,
)
from .host.api import compute_device, io, model_files, model_path
from .named_files import AUTO, chosen, files_with, training_input, training_of

INSIDE, IN_THESE = "inside the checkpoint", "in these files"
APART = {"connectors": "connectors", "projection": "text_projection"}  # inputs, and what their files hold
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class LoadModel(io.ComfyNode):
    """One checkpoint that holds everything → its parts."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXLoadModel",
            display_name="Load LTX Model",
            category="OpenLTX/loaders",
            description="Opens a single-file LTX-2 or LTX-2.3 checkpoint. Parts are read when they are first used.",
            inputs=[
                io.Combo.Input(
                    "checkpoint",
                    options=model_files("checkpoints"),
                    tooltip="A single-file checkpoint: transformer, connectors, video VAE, audio VAE, vocoder.",
                ),
                io.Combo.Input(
                    "text_encoder",
                    options=model_files("text_encoders", before=[INSIDE]),
                    default=INSIDE,
                    tooltip="The Gemma 3 12B file for published checkpoints; the embedded tiny model holds its own.",
                ),
                _dtype_input(),
                training_input(),
            ],
            outputs=[
                io.Model.Output("model", tooltip="The diffusion transformer."),
                io.Clip.Output("text_encoder", tooltip="Tokenizer, Gemma, projection and connectors."),
                io.Vae.Output("video_vae", tooltip="Video decoder."),
                io.Vae.Output("audio_vae", tooltip="Audio decoder and vocoder."),
            ],
        )

    @classmethod
    def execute(cls, checkpoint: str, text_encoder: str, dtype: str, training: str = AUTO) -> io.NodeOutput:
        path = chosen("checkpoints", checkpoint)
        encoder = None if text_encoder == INSIDE else chosen("text_encoders", text_encoder)
        parts = open_parts(path, text_encoder=encoder, dtype=_dtype(dtype), training=training_of(path, training))
        return io.NodeOutput(parts.model, parts.text, parts.video, parts.audio)

    @classmethod
    def fingerprint_inputs(cls, checkpoint: str, text_encoder: str, dtype: str, training: str = AUTO) -> Any:
        path = model_path("checkpoints", checkpoint)
        return (path.stat().st_mtime_ns, path.stat().st_size, text_encoder, dtype, training)


class LoadTransformer(io.ComfyNode):
    """A transformer in a file of its own (LTX-2.5, repacks)."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXLoadTransformer",
            display_name="Load Transformer (LTX)",
            category="OpenLTX/loaders",
            description="Opens a transformer file, with its text encoder: the connectors lie in the same file.",
            inputs=[
                io.Combo.Input(
                    "transformer", options=model_files("diffusion_models"), tooltip="Transformer and connectors."
                ),
                io.Combo.Input("text_encoder", options=model_files("text_encoders"), tooltip="Gemma with projections."),
                _dtype_input(),
                training_input(),
                *(_apart(name, part) for name, part in APART.items()),
            ],
            outputs=[
                io.Model.Output("model", tooltip="The diffusion transformer."),
                io.Clip.Output("text_encoder", tooltip="Tokenizer, Gemma, projection and connectors."),
            ],
        )

    @classmethod
    def execute(
        cls,
        transformer: str,
        text_encoder: str,
        dtype: str,
        training: str = AUTO,
        connectors: str = IN_THESE,
        projection: str = IN_THESE,
    ) -> io.NodeOutput:
        path, encoder = chosen("diffusion_models", transformer), chosen("text_encoders", text_encoder)
        apart = zip(APART.values(), (connectors, projection), strict=True)
        extra = [chosen(ROLES[part], name) for part, name in apart if name != IN_THESE]
        model = open_model(path, dtype=_dtype(dtype), training=training_of(path, training))
        return io.NodeOutput(model, open_text(encoder, path, dtype=_dtype(dtype), extra=extra))


class LoadVAE(io.ComfyNode):
    """Video VAE and audio VAE in files of their own."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXLoadVAE",
            display_name="Load VAEs (LTX)",
            category="OpenLTX/loaders",
            description="Opens the video VAE (convolutional or diffusion decoder) and the audio VAE with its vocoder.",
            inputs=[
                io.Combo.Input("video_vae", options=files_with(ROLES["video_vae"]), tooltip="The video VAE."),
                io.Combo.Input("audio_vae", options=files_with(ROLES["audio_vae"]), tooltip="Audio VAE and vocoder."),
                _dtype_input(),
            ],
            outputs=[
                io.Vae.Output("video_vae", tooltip="Video encoder and decoder."),
                io.Vae.Output("audio_vae", tooltip="Audio encoder, decoder and vocoder."),
            ],
        )

    @classmethod
    def execute(cls, video_vae: str, audio_vae: str, dtype: str) -> io.NodeOutput:
        video = open_video(chosen(ROLES["video_vae"], video_vae), dtype=_dtype(dtype))
        audio = open_audio(chosen(ROLES["audio_vae"], audio_vae))
        refuse_mixed(video, audio.generation, "audio_vae")
        return io.NodeOutput(video, audio)


class LoadUpscaler(io.ComfyNode):
    """A latent upscaler."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXLoadUpscaler",
            display_name="Load Upscaler (LTX)",
            category="OpenLTX/loaders",
            description="Opens a latent upscaler: x2 or x1.5 in size, or x2 in frames.",
            inputs=[
                io.Combo.Input(
                    "upscaler", options=model_files("latent_upscale_models"), tooltip="Of the model's generation."
                ),
                _dtype_input(),
            ],
            outputs=[io.LatentUpscaleModel.Output("upscaler", tooltip="The upscaler.")],
        )

    @classmethod
    def execute(cls, upscaler: str, dtype: str) -> io.NodeOutput:
        return io.NodeOutput(open_upscaler(chosen("latent_upscale_models", upscaler), dtype=_dtype(dtype)))


class OneStream(io.ComfyNode):
    """A model for sound or picture alone."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXOneStream",
            display_name="One Stream of Model (LTX)",
            category="OpenLTX/loaders",
            description="Only the video or only the audio half of a transformer: the other one is never read.",
            inputs=[
                io.Model.Input("model", tooltip="From a loader."),
                io.Combo.Input("stream", options=["audio", "video"], default="audio", tooltip="The half to keep."),
            ],
            outputs=[io.Model.Output("model", tooltip="The half; make its latent for this stream only.")],
        )

    @classmethod
    def execute(cls, model: DiffusionModel, stream: Literal["audio", "video"]) -> io.NodeOutput:
        return io.NodeOutput(only_stream(model, stream))


def _apart(name: str, part: str) -> io.BaseInput:
    return io.Combo.Input(
        name,
        options=files_with(ROLES[part], before=[IN_THESE]),
        default=IN_THESE,
        optional=True,
        tooltip=f"The file with the text {name}, where a repack has it apart from transformer and text encoder.",
    )


def _dtype_input() -> io.BaseInput:
    return io.Combo.Input(
        "dtype",
        options=["auto", *DTYPES],
        default="auto",
        tooltip="Precision. auto: bfloat16 on a GPU, float32 on the CPU. Sound is always float32.",
    )


def _dtype(name: str) -> torch.dtype:
    if name != "auto":
        return DTYPES[name]
    return torch.float32 if compute_device().type == "cpu" else torch.bfloat16
