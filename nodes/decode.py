"""Decoding: latent → frames, latent → sound."""

from __future__ import annotations

import torch

from ..media.health import audio_faults, frame_faults
from ..model_loaders.parts import AudioPart, VideoPart
from ..networks.audio_vae import decode_audio
from ..networks.video_vae.memory import planned_decode_bytes
from ..networks.video_vae.pixels import to_images
from ..samplers.shapes import pixel_frames
from .host.api import compute_device, io, progress, warn_user
from .latents import Latent, audio_of, video_of


class DecodeVideo(io.ComfyNode):
    """Video latent → frames, streamed through the decoder in time."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXDecodeVideo",
            display_name="Decode Video (LTX)",
            category="OpenLTX/decode",
            description="Decodes the picture piece by piece in time; exact, without seams.",
            inputs=[
                io.Vae.Input("video_vae", tooltip="From Load LTX Model."),
                io.Latent.Input("latent", tooltip="From Sample (LTX)."),
            ],
            outputs=[io.Image.Output("images", tooltip="Frames.")],
        )

    @classmethod
    def execute(cls, video_vae: VideoPart, latent: Latent) -> io.NodeOutput:
        video = video_of(latent)
        needed = planned_decode_bytes(video[:1], video_vae.decoder.dtype)
        decoder = video_vae.decoder.on(compute_device(), memory=needed)
        bar = progress(pixel_frames(video.shape[2]))
        chunks = []
        for chunk in decoder.decode_stream(video[:1].to(compute_device())):
            chunks.append(to_images(chunk)[0].cpu())
            bar.update(chunk.shape[2])
        images = torch.cat(chunks)
        for fault in frame_faults(images):
            warn_user(fault)
        return io.NodeOutput(images)


class DecodeKeyframes(io.ComfyNode):
    """Generated keyframes → pictures, each decoded alone."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXDecodeKeyframes",
            display_name="Decode Keyframes (LTX)",
            category="OpenLTX/decode",
            description="Decodes the pictures that keyframe slots made, one by one.",
            inputs=[
                io.Vae.Input("video_vae", tooltip="From a loader."),
                io.Latent.Input("keyframes", tooltip="From Sample Stage (LTX)."),
            ],
            outputs=[io.Image.Output("images", tooltip="One picture a slot.")],
        )

    @classmethod
    def execute(cls, video_vae: VideoPart, keyframes: Latent | None) -> io.NodeOutput:
        if keyframes is None:
            raise ValueError("keyframes: expected generated keyframes, found none; add slots to the stage's latent")
        device = compute_device()
        decoder = video_vae.decoder.on(device)
        frames = torch.split(video_of(keyframes)[:1].to(device), 1, dim=2)
        return io.NodeOutput(torch.cat([to_images(decoder.decode(frame))[0].cpu() for frame in frames]))


class DecodeAudio(io.ComfyNode):
    """Audio latent → stereo waveform."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXDecodeAudio",
            display_name="Decode Audio (LTX)",
            category="OpenLTX/decode",
            description="Decodes the sound to stereo, at the vocoder's own rate (48 kHz, LTX-2: 24 kHz).",
            inputs=[
                io.Vae.Input("audio_vae", tooltip="From Load LTX Model."),
                io.Latent.Input("latent", tooltip="From Sample (LTX)."),
            ],
            outputs=[io.Audio.Output("audio", tooltip="Stereo sound.")],
        )

    @classmethod
    def execute(cls, audio_vae: AudioPart, latent: Latent) -> io.NodeOutput:
        audio = audio_of(latent)
        device = compute_device()
        decoder, vocoder = audio_vae.decoder.on(device), audio_vae.vocoder.on(device)
        waveform, sample_rate = decode_audio(decoder, vocoder, audio.to(device))
        for fault in audio_faults(waveform[0]):
            warn_user(fault)
        return io.NodeOutput({"waveform": waveform.cpu(), "sample_rate": sample_rate})
