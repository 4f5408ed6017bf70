"""Loading: file → model, text encoder, video VAE, audio VAE."""

from __future__ import annotations

from typing import Any

import torch

from ..model_loaders.parts import open_parts
from .host.api import compute_device, io, model_files, model_path

INSIDE = "inside the checkpoint"
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
                    options=[INSIDE, *model_files("text_encoders")],
                    default=INSIDE,
                    tooltip="The Gemma 3 12B file for published checkpoints; the embedded tiny model holds its own.",
                ),
                io.Combo.Input(
                    "dtype",
                    options=["auto", *DTYPES],
                    default="auto",
                    tooltip="Precision. auto: bfloat16 on a GPU, float32 on the CPU. Sound is always float32.",
                ),
            ],
            outputs=[
                io.Model.Output("model", tooltip="The diffusion transformer."),
                io.Clip.Output("text_encoder", tooltip="Tokenizer, Gemma, projection and connectors."),
                io.Vae.Output("video_vae", tooltip="Video decoder."),
                io.Vae.Output("audio_vae", tooltip="Audio decoder and vocoder."),
            ],
        )

    @classmethod
    def execute(cls, checkpoint: str, text_encoder: str, dtype: str) -> io.NodeOutput:
        encoder = None if text_encoder == INSIDE else model_path("text_encoders", text_encoder)
        parts = open_parts(model_path("checkpoints", checkpoint), text_encoder=encoder, dtype=_dtype(dtype))
        return io.NodeOutput(parts.model, parts.text, parts.video, parts.audio)

    @classmethod
    def fingerprint_inputs(cls, checkpoint: str, text_encoder: str, dtype: str) -> Any:
        path = model_path("checkpoints", checkpoint)
        return (path.stat().st_mtime_ns, path.stat().st_size, text_encoder, dtype)


def _dtype(name: str) -> torch.dtype:
    if name != "auto":
        return DTYPES[name]
    return torch.float32 if compute_device().type == "cpu" else torch.bfloat16
