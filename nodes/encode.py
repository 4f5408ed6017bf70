"""Encoding: frames → video latent, sound → audio latent."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..media.images import prepare_clip
from ..model_loaders.parts import AudioPart, VideoPart
from ..networks.audio_vae import encode_audio
from ..networks.video_vae.memory import planned_encode_bytes
from ..samplers.conditioning import fit_audio_latent
from ..samplers.shapes import audio_latent_frames, nearest_size, pixel_frames, snap_frames, snap_size
from .generations import of_part
from .host.api import compute_device, io, warn_user
from .latents import FRAME_RATE, Latent, frame_rate_of, video_of


class EncodeVideo(io.ComfyNode):
    """Frames → video latent."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXEncodeVideo",
            display_name="Encode Video (LTX)",
            category="OpenLTX/encode",
            description="Encodes a clip, piece by piece in time. Scaled to cover the size, cropped at the centre.",
            inputs=[
                io.Vae.Input("video_vae", tooltip="From a loader."),
                io.Image.Input("images", tooltip="Frames; those beyond 8n+1 are left out."),
                io.Float.Input("frame_rate", default=24.0, min=1.0, max=240.0, step=0.001, tooltip="Frames a second."),
                io.Int.Input("width", default=0, min=0, max=16384, tooltip="Pixels; 0: the clip's own."),
                io.Int.Input("height", default=0, min=0, max=16384, tooltip="Pixels; 0: the clip's own."),
            ],
            outputs=[io.Latent.Output("latent", tooltip="The video latent.")],
        )

    @classmethod
    def execute(cls, video_vae: VideoPart, images: Tensor, frame_rate: float, width: int, height: int) -> io.NodeOutput:
        size = height or nearest_size(images.shape[1]), width or nearest_size(images.shape[2])
        latent = encode_frames(video_vae, images, *size)
        return io.NodeOutput(of_part({"samples": latent, FRAME_RATE: frame_rate}, video_vae))


class EncodeAudio(io.ComfyNode):
    """Sound → audio latent."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXEncodeAudio",
            display_name="Encode Audio (LTX)",
            category="OpenLTX/encode",
            description="Encodes sound at any sample rate; mono is doubled, surround mixed down to stereo.",
            inputs=[
                io.Vae.Input("audio_vae", tooltip="From a loader."),
                io.Audio.Input("audio", tooltip="Sound of any length."),
                io.Latent.Input(
                    "video",
                    optional=True,
                    tooltip="A video latent: the sound is cut to its duration, or filled up with an empty latent.",
                ),
            ],
            outputs=[io.Latent.Output("latent", tooltip="The audio latent, 25 frames a second.")],
        )

    @classmethod
    def execute(cls, audio_vae: AudioPart, audio: dict[str, Any] | None, video: Latent | None = None) -> io.NodeOutput:
        video = None if video is None else of_part(video, audio_vae, "video")
        sound = encode_sound(audio_vae, audio)
        if video is not None:
            frames = audio_latent_frames(clip_frames(video_of(video)), frame_rate_of(video))
            sound = fit_audio_latent(sound, frames, pad=True)
        return io.NodeOutput(of_part({"samples": sound}, audio_vae))


class ClipSize(io.ComfyNode):
    """Frames → their size, brought to what a latent can hold."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXClipSize",
            display_name="Clip Size (LTX)",
            category="OpenLTX/encode",
            description="Size and length of a clip, rounded down to what a latent can hold; for a latent like it.",
            inputs=[
                io.Image.Input("images", tooltip="The clip."),
                io.Int.Input(
                    "multiple",
                    default=32,
                    min=32,
                    max=256,
                    step=32,
                    tooltip="Pixels: width and height become multiples of this; 64 for two stages.",
                ),
                io.Int.Input(
                    "factor",
                    default=1,
                    min=1,
                    max=8,
                    optional=True,
                    tooltip="How many times larger the result shall be.",
                ),
            ],
            outputs=[
                io.Int.Output("width", tooltip="Pixels."),
                io.Int.Output("height", tooltip="Pixels."),
                io.Int.Output("frames", tooltip="8n+1 frames."),
            ],
        )

    @classmethod
    def execute(cls, images: Tensor, multiple: int, factor: int = 1) -> io.NodeOutput:
        frames, *sides = images.shape[:3]
        height, width = (snap_size(side, multiple=multiple) * factor for side in sides)
        return io.NodeOutput(width, height, snap_frames(frames))


def encode_frames(video_vae: VideoPart, images: Tensor, height: int, width: int) -> Tensor:
    """IMAGE (F, H, W, 3) in 0 … 1 → latent (1, C, f, h, w) of a clip of this size in pixels; frames cut to 8n+1."""
    frames = snap_frames(len(images))
    if frames != len(images):
        warn_user(f"video: the last {len(images) - frames} of {len(images)} frames are left out (8n+1 are encoded)")
    return encode_pixels(video_vae, prepare_clip(images[:frames, ..., :3] * 255.0, height, width))


def encode_pixels(video_vae: VideoPart, pixels: Tensor) -> Tensor:
    """Pixels (1, 3, F, H, W) in -1 … 1 → latent (1, C, f, h, w), float32 on the CPU."""
    device = compute_device()
    needed = planned_encode_bytes(pixels, video_vae.encoder.dtype)
    latent: Tensor = video_vae.encoder.on(device, memory=needed).encode(pixels.to(device))
    return latent.float().cpu()


def encode_sound(audio_vae: AudioPart, audio: dict[str, Any] | None) -> Tensor:
    """AUDIO → latent (1, C, T, bins), float32 on the CPU. ValueError for None: a clip without a sound track."""
    device = compute_device()
    waveform = present_sound(audio)["waveform"][:1].to(device)
    return encode_audio(audio_vae.encoder.on(device), waveform, int(present_sound(audio)["sample_rate"])).cpu()


def present_sound(audio: dict[str, Any] | None) -> dict[str, Any]:
    """The AUDIO; ValueError for None, which is what a clip without a sound track has."""
    if audio is None:
        raise ValueError("audio: expected sound, found a silent clip; generate its sound, or load a sound file")
    return audio


def clip_frames(latent: Tensor) -> int:
    """Pixel frames of a video latent (B, C, F, H, W)."""
    return pixel_frames(latent.shape[2])


def seconds_of(audio: dict[str, Any]) -> float:
    """Duration of an AUDIO."""
    return float(audio["waveform"].shape[-1]) / float(audio["sample_rate"])


def silence_to(audio: dict[str, Any], seconds: float) -> dict[str, Any]:
    """AUDIO at least `seconds` long, filled up with silence at its end."""
    missing = max(0, round(seconds * audio["sample_rate"]) - audio["waveform"].shape[-1])
    return {**audio, "waveform": torch.nn.functional.pad(audio["waveform"], (0, missing))}
