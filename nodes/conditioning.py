"""Text conditioning: prompt → CONDITIONING, and back to the contexts of the two streams.

On the wire it has ComfyUI's form: a list of [contexts, options], video and audio context side by side on the last axis.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..model_loaders.parts import DiffusionModel, TextPart, refuse_mixed
from ..samplers.streams import Streams
from .generations import GENERATION
from .host.api import compute_device, io, warn_user

Conditioning = list[list[Any]]


class EncodePrompt(io.ComfyNode):
    """Prompt → conditioning."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXEncodePrompt",
            display_name="Encode Prompt (LTX)",
            category="OpenLTX/conditioning",
            description="Turns a prompt into conditioning for video and sound.",
            inputs=[
                io.Clip.Input("text_encoder", tooltip="From Load LTX Model."),
                io.String.Input(
                    "text",
                    default="",
                    multiline=True,
                    tooltip="What is seen and heard, up to 1023 tokens. Empty: no guidance by text.",
                ),
            ],
            outputs=[io.Conditioning.Output("conditioning", tooltip="Contexts of video and sound.")],
        )

    @classmethod
    def execute(cls, text_encoder: TextPart, text: str) -> io.NodeOutput:
        if not text.strip():
            warn_user("the prompt is empty: the model is free to choose what it shows")
        encoded = text_encoder.encoder.on(compute_device()).encode(text)
        contexts = torch.cat([encoded.video_context, encoded.audio_context], dim=-1)
        return io.NodeOutput([[contexts, {GENERATION: text_encoder.generation}]])


def refuse_other_text(conditioning: Conditioning | None, model: DiffusionModel, name: str) -> None:
    """ValueError, one line, for conditioning that a text encoder of another generation made."""
    for _, options in conditioning or ():
        refuse_mixed(model, options.get(GENERATION), name)


def contexts_of(conditioning: Conditioning, model: DiffusionModel, name: str) -> Streams[Tensor]:
    """The two contexts (1, S, D) in a CONDITIONING, for this model.

    Raises ValueError for conditioning of another width, or with several entries.
    """
    if len(conditioning) != 1:
        raise ValueError(f"{name}: expected one conditioning entry, found {len(conditioning)}; encode a single prompt")
    contexts, _ = conditioning[0]
    widths = _context_widths(model, contexts.shape[-1])
    if contexts.shape[-1] != sum(widths):
        raise ValueError(
            f"{name}: expected contexts of width {' + '.join(map(str, widths))} for {model.path.name}, found "
            f"{contexts.shape[-1]}; encode the prompt with the text encoder of this model"
        )
    video, audio = contexts.split(widths, dim=-1)
    return Streams(
        video=None if model.config.video is None else video.contiguous(),
        audio=None if model.config.audio is None else audio.contiguous(),
    )


def _context_widths(model: DiffusionModel, found: int) -> tuple[int, int]:
    """Of a model with one stream, the other one's part is whatever is left: its text encoder still gives both."""
    config = model.config
    video, audio = (
        None if stream is None else config.caption_channels or stream.width for stream in (config.video, config.audio)
    )
    return (
        max(found - (audio or 0), 0) if video is None else video,
        max(found - (video or 0), 0) if audio is None else audio,
    )
