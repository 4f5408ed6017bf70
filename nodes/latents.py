"""LATENT on the wires: ComfyUI's nested pair of a video and an audio latent, with the frame rate beside it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..model_loaders.parts import DiffusionModel
from ..samplers.shapes import SCALE, audio_latent_frames, latent_grid, nearest_frames, nearest_size
from ..samplers.streams import Streams
from .host.api import NestedTensor, io, warn_user

FRAME_RATE = "frame_rate"
Latent = dict[str, Any]


class EmptyAVLatent(io.ComfyNode):
    """Sizes → an empty latent for video and sound of the same duration."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXEmptyAVLatent",
            display_name="Empty AV Latent (LTX)",
            category="OpenLTX/latent",
            description="An empty latent for video and sound. Sizes off the grid are snapped, and it says so.",
            inputs=[
                io.Model.Input("model", tooltip="The model that will fill it: it sets the number of channels."),
                io.Int.Input(
                    "width", default=768, min=1, max=16384, step=SCALE.space, tooltip="Pixels; multiples of 32."
                ),
                io.Int.Input(
                    "height", default=512, min=1, max=16384, step=SCALE.space, tooltip="Pixels; multiples of 32."
                ),
                io.Int.Input(
                    "frames", default=121, min=1, max=8193, step=SCALE.time, tooltip="Frames; multiples of 8, plus 1."
                ),
                io.Float.Input("frame_rate", default=24.0, min=1.0, max=240.0, step=0.001, tooltip="Frames a second."),
            ],
            outputs=[
                io.Latent.Output("latent", tooltip="Video and audio latent."),
                io.Float.Output("frame_rate", tooltip="The frame rate, for saving."),
                io.Int.Output("frames", tooltip="Frames after snapping."),
            ],
        )

    @classmethod
    def execute(cls, model: DiffusionModel, width: int, height: int, frames: int, frame_rate: float) -> io.NodeOutput:
        width, height = _snapped("width", width, nearest_size(width)), _snapped("height", height, nearest_size(height))
        frames = _snapped("frames", frames, nearest_frames(frames))
        grid = latent_grid(frames, height, width)
        audio_frames = audio_latent_frames(frames, frame_rate)
        if audio_frames < 1:
            raise ValueError(f"frames: {frames} at {frame_rate:g} a second are too short for sound; use more frames")
        video = torch.zeros(1, model.video_channels, *grid)
        audio = torch.zeros(1, model.audio_channels, audio_frames, model.audio_bins)
        return io.NodeOutput({"samples": NestedTensor([video, audio]), FRAME_RATE: frame_rate}, frame_rate, frames)


def _snapped(name: str, asked: int, nearest: int) -> int:
    if asked != nearest:
        grid = "8n+1" if name == "frames" else "a multiple of 32"
        warn_user(f"{name} {asked} is not {grid}: {nearest} is used")
    return nearest


def members(latent: Latent) -> Streams[Tensor]:
    """Video (B, C, F, H, W) and audio (B, C, T, bins) of a LATENT; ValueError for one that is no pair of them."""
    samples = latent["samples"]
    found = samples.unbind() if getattr(samples, "is_nested", False) else [samples]
    if [member.ndim for member in found] != [5, 4]:
        shapes = " and ".join(str(tuple(member.shape)) for member in found)
        raise ValueError(
            f"latent: expected a video (B, C, F, H, W) and an audio latent (B, C, T, bins), found {shapes}; "
            "start from Empty AV Latent (LTX)"
        )
    return Streams(video=found[0], audio=found[1])


def frame_rate_of(latent: Latent) -> float:
    """Frames a second of a LATENT; ValueError when it carries none."""
    rate = latent.get(FRAME_RATE)
    if rate is None:
        raise ValueError("latent: it carries no frame rate; start from Empty AV Latent (LTX)")
    return float(rate)
