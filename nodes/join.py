"""Joining and splitting the two streams of a LATENT."""

from __future__ import annotations

import torch
from torch import Tensor

from ..samplers.shapes import pixel_frames
from ..samplers.streams import Streams
from .generations import generation_of, of_latent
from .host.api import NestedTensor, io
from .latents import (
    FRAME_RATE,
    Latent,
    audio_of,
    items_of,
    joined,
    masks_of,
    refuse_other_duration,
    video_of,
    with_items,
)
from .made import MADE, made_of, merged_steps


class JoinAV(io.ComfyNode):
    """A video latent and an audio latent → one of both."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXJoinAV",
            display_name="Join AV Latent (LTX)",
            category="OpenLTX/latent",
            description="Puts the video of one latent and the sound of another together, as after an upscale.",
            inputs=[
                io.Latent.Input("video", tooltip="Its video, frame rate and video conditioning are taken."),
                io.Latent.Input("audio", tooltip="Its sound and audio conditioning are taken."),
            ],
            outputs=[io.Latent.Output("latent", tooltip="Video and audio latent.")],
        )

    @classmethod
    def execute(cls, video: Latent, audio: Latent) -> io.NodeOutput:
        video = of_latent(video, audio, "audio")
        picture, sound, steps = video_of(video), audio_of(audio), merged_steps(made_of(video), made_of(audio))
        pair = Streams(video=picture, audio=sound)
        latent: Latent = {"samples": joined(pair), MADE: steps, **generation_of(video)}
        if video.get(FRAME_RATE) is not None:  # a latent of ComfyUI has none: the sampler will ask for it
            latent[FRAME_RATE] = video[FRAME_RATE]
            refuse_other_duration(pixel_frames(picture.shape[2]), sound.shape[2], float(video[FRAME_RATE]))
        masks = (masks_of(video).video, masks_of(audio).audio)
        if any(mask is not None for mask in masks):
            members = zip(masks, (picture, sound), strict=True)
            latent["noise_mask"] = NestedTensor([_whole(member) if mask is None else mask for mask, member in members])
        return io.NodeOutput(with_items(latent, Streams(video=items_of(video).video, audio=items_of(audio).audio)))


class SplitAV(io.ComfyNode):
    """An AV latent → its video and its sound."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXSplitAV",
            display_name="Split AV Latent (LTX)",
            category="OpenLTX/latent",
            description="Takes video and sound of a latent apart.",
            inputs=[io.Latent.Input("latent", tooltip="Video and audio latent.")],
            outputs=[
                io.Latent.Output("video", tooltip="The video latent alone."),
                io.Latent.Output("audio", tooltip="The audio latent alone."),
            ],
        )

    @classmethod
    def execute(cls, latent: Latent) -> io.NodeOutput:
        items, masks = items_of(latent), masks_of(latent)
        video = with_items({**latent, "samples": video_of(latent)}, Streams(video=items.video))
        audio = with_items({**latent, "samples": audio_of(latent)}, Streams(audio=items.audio))
        return io.NodeOutput(_masked(video, masks.video), _masked(audio, masks.audio))


def _whole(member: Tensor) -> Tensor:
    """The mask of a latent that is generated everywhere."""
    return torch.ones_like(member[:, :1])


def _masked(latent: Latent, mask: Tensor | None) -> Latent:
    rest = {name: entry for name, entry in latent.items() if name != "noise_mask"}
    return rest if mask is None else {**rest, "noise_mask": mask}
