"""Latent upscalers: more cells, or more frames."""

from __future__ import annotations

from ..model_loaders.parts import UpscalerPart, VideoPart, refuse_mixed
from ..networks.latent_upscaler import upscale_latent
from ..samplers.streams import Streams
from .generations import generation_of, of_part
from .host.api import compute_device, io
from .latents import FRAME_RATE, KEYFRAME_CLIP, KEYFRAMES, Latent, frame_rate_of, joined, members, video_of
from .made import MADE, made_of, part_step


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
        device, video = compute_device(), video_of(latent)
        network = upscaler.network.on(device)
        statistics = video_vae.statistics.on(device)
        upscaled = upscale_latent(network, statistics, video.to(device, upscaler.network.dtype)).float().cpu()
        rate = frame_rate_of(latent) * (2 if upscaler.config.doubles_frames else 1)
        pair = Streams(video=upscaled, audio=members(latent).audio)
        named = () if upscaler.config.doubles_frames else (KEYFRAMES, KEYFRAME_CLIP)
        kept = {key: latent[key] for key in named if key in latent}
        steps = (*made_of(latent), part_step("upscale", upscaler.path.name, upscaler.network.dtype))
        result = {"samples": joined(pair), FRAME_RATE: rate, MADE: steps, **kept, **generation_of(latent)}
        return io.NodeOutput(result, rate)
