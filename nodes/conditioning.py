"""Text conditioning: prompt → CONDITIONING (its form: `contexts`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch

from ..model_loaders.parts import TextPart
from ..model_loaders.text_conditioning import TextConditioning
from ..model_loaders.text_encoder import TextEncoder
from ..plan.machine import Machine
from ..plan.needs import TextConfig
from ..plan.phases import Way, text_ways
from ..plan.sizes import Weights
from .contexts import EMPTY, Conditioning
from .generations import GENERATION
from .host.api import compute_device, io
from .whole_parts import run_part


@runtime_checkable
class EncodedByHost(Protocol):
    """A text encoder that only the host can call."""

    def conditioning(self, text: str) -> Conditioning:
        """Of one prompt, as the host's own nodes give it."""


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
    def execute(cls, text_encoder: TextPart | EncodedByHost, text: str) -> io.NodeOutput:
        if isinstance(text_encoder, EncodedByHost):
            return io.NodeOutput(text_encoder.conditioning(text))
        encoded = encoded_text(text_encoder, text)
        contexts = torch.cat([encoded.video_context, encoded.audio_context], dim=-1)
        options = {GENERATION: text_encoder.generation} | ({} if text.strip() else {EMPTY: True})
        return io.NodeOutput([[contexts, options]])


def encoded_text(part: TextPart, text: str) -> TextConditioning:
    """Contexts of a prompt; of one that was encoded before without moving the encoder, which would push out others."""
    device, encoder = compute_device(), part.encoder.idle()
    found = None if encoder is None else encoder.remembered(text, device)
    if found is not None:
        return found
    return run_part(part.encoder, lambda encoder: encoder.encode(text), "encoding the prompt", _ways)


def _ways(encoder: TextEncoder, weights: Weights, machine: Machine) -> Iterator[Way]:
    config = TextConfig(
        decoder=encoder.decoder.config,
        projection=encoder.projection.config,
        video_connector=encoder.video_connector.config,
        audio_connector=encoder.audio_connector.config,
        length=encoder.length,
    )
    return text_ways(config, weights, encoder.video_connector.learnable_registers.dtype, encoder.length, machine)
