"""A node that makes parts, conditioning and latents of any generation; a network that is read fails the test."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from openltx.model_loaders.parts import AudioPart, DiffusionModel, Lazy, TextPart, UpscalerPart, VideoPart
from openltx.nodes.generations import GENERATION
from openltx.nodes.host.api import NestedTensor, io
from openltx.nodes.latents import FRAME_RATE, KEYFRAME_CLIP, KEYFRAMES

READ = "a network was read"
LATENT = torch.zeros(1, 4, 3, 2, 2)


def unread() -> Any:
    raise AssertionError(READ)


def lazy() -> Lazy[Any]:
    return Lazy(unread, torch.float32)


class ToyParts(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        kinds = (io.Model, io.Clip, io.Vae, io.Vae, io.LatentUpscaleModel, io.Conditioning, io.Image, io.Audio)
        latents = [io.Latent.Output(name) for name in ("video", "audio", "both", "keyframes")]
        return io.Schema(
            node_id="ToyParts",
            inputs=[io.String.Input("generation", default="2")],
            outputs=[*(kind.Output() for kind in kinds), *latents],
        )

    @classmethod
    def execute(cls, generation: str) -> io.NodeOutput:
        def named(kind: str) -> dict[str, Any]:
            return {"generation": generation, "path": Path(f"{kind}-{generation}.safetensors")}

        network: dict[str, Any] = {name: lazy() for name in ("encoder", "decoder")}
        unopened: Any = None
        config: Any = SimpleNamespace(num_layers=48, keyframe_marker=True)
        upscaler: Any = SimpleNamespace(doubles_frames=False)
        sound = torch.zeros(1, 8, 17, 16)
        mark = {FRAME_RATE: 24.0, GENERATION: generation}
        return io.NodeOutput(
            DiffusionModel(transformer=lazy(), connectors=lazy(), file=unopened, config=config, **named("model")),
            TextPart(encoder=lazy(), load=unread, **named("text")),
            VideoPart(statistics=lazy(), **network, **named("video")),
            AudioPart(vocoder=lazy(), **network, **named("audio")),
            UpscalerPart(network=lazy(), config=upscaler, **named("upscaler")),
            [[torch.zeros(1, 4, 8), {GENERATION: generation}]],
            torch.zeros(17, 64, 64, 3),
            {"waveform": torch.zeros(1, 2, 48000), "sample_rate": 48000},
            {"samples": LATENT, **mark},
            {"samples": sound, **mark},
            {"samples": NestedTensor((LATENT, sound)), **mark},
            {"samples": LATENT, KEYFRAMES: [0, 8, 16], KEYFRAME_CLIP: 17, **mark},
        )


NODES = [ToyParts]
