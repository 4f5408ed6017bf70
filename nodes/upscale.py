"""Latent upscalers: more cells, or more frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from torch import Tensor

from ..model_loaders.parts import UpscalerPart, VideoPart, refuse_mixed
from ..networks.latent_upscaler import LatentUpscaler, upscale_latent
from ..plan.machine import Machine
from ..plan.phases import Way, upscale_ways
from ..plan.sizes import Weights
from ..samplers.streams import Streams
from .generations import generation_of, of_part
from .host.api import io
from .latents import FRAME_RATE, KEYFRAME_CLIP, KEYFRAMES, Latent, frame_rate_of, joined, members, video_of
from .made import MADE, made_of, part_step
from .whole_parts import run_part


class UpscaleLatent(io.ComfyNode):
    """Video latent → one with more cells or frames; the sound stays."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXUpscaleLatent",
            display_name="Upscale Latent (LTX)",
            category="OpenLTX/latent",
            description="Between two stages: doubles size or frame rate of the video latent. Refine the result.",
            inputs=[
                io.LatentUpscaleModel.Input("upscaler", tooltip="From Load Upscaler (LTX)."),
                io.Vae.Input("video_vae", tooltip="The video VAE of the same generation."),
                io.Latent.Input("latent", tooltip="The result of a stage."),
            ],
            outputs=[
                io.Latent.Output("latent", tooltip="The upscaled latent; conditioning items are not carried over."),
                io.Float.Output("frame_rate", tooltip="Doubled by a temporal upscaler."),
            ],
        )

    @classmethod
    def execute(cls, upscaler: UpscalerPart, video_vae: VideoPart, latent: Latent) -> io.NodeOutput:
        refuse_mixed(video_vae, upscaler.generation, "upscaler")
        latent = of_part(of_part(latent, video_vae), upscaler)
        upscaled = run_part(
            upscaler.network, partial(_upscaled, video_vae, video_of(latent)), "upscaling", _ways(latent)
        )
        rate = frame_rate_of(latent) * (2 if upscaler.config.doubles_frames else 1)
        pair = Streams(video=upscaled, audio=members(latent).audio)
        named = () if upscaler.config.doubles_frames else (KEYFRAMES, KEYFRAME_CLIP)
        kept = {key: latent[key] for key in named if key in latent}
        steps = (*made_of(latent), part_step("upscale", upscaler.path.name, upscaler.network.dtype))
        result = {"samples": joined(pair), FRAME_RATE: rate, MADE: steps, **kept, **generation_of(latent)}
        return io.NodeOutput(result, rate)


def _upscaled(video_vae: VideoPart, video: Tensor, network: LatentUpscaler) -> Tensor:
    weight = next(network.parameters())
    statistics = video_vae.statistics.on(weight.device)
    return upscale_latent(network, statistics, video.to(weight.device, weight.dtype)).float().cpu()


def _ways(latent: Latent) -> Callable[[LatentUpscaler, Weights, Machine], Iterator[Way]]:
    def found(network: LatentUpscaler, weights: Weights, machine: Machine) -> Iterator[Way]:
        _, _, frames, height, width = video_of(latent).shape
        dtype = next(network.parameters()).dtype
        return upscale_ways(network.config, weights, dtype, (frames, height, width), machine)

    return found
