"""Decoding: latent → frames, latent → sound."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..media.health import audio_faults, frame_faults
from ..model_loaders.free_memory import give_back
from ..model_loaders.parts import AudioPart, VideoPart
from ..networks.audio_vae import AudioDecoder, decode_audio, decode_audio_pieces
from ..networks.video_vae.pixels import to_images
from ..networks.vocoder import Vocoder
from .frames import decoded_frames
from .generations import of_part
from .host.api import compute_device, io, warn_user
from .latents import Latent, audio_of, video_of
from .made import MADE, made_of, part_step, with_steps

OF_LOADER = "of the loader"


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
                io.Combo.Input(
                    "precision",
                    options=[OF_LOADER, "float32"],
                    default=OF_LOADER,
                    optional=True,
                    tooltip="float32: for HDR, whose curve would show the steps of a lower precision.",
                ),
            ],
            outputs=[io.Image.Output("images", tooltip="Frames.")],
        )

    @classmethod
    def execute(cls, video_vae: VideoPart, latent: Latent, precision: str = OF_LOADER) -> io.NodeOutput:
        video, part = video_of(of_part(latent, video_vae)), video_vae.decoder
        part = part if precision == OF_LOADER else part.in_dtype(torch.float32)
        images = torch.cat(list(decoded_frames(part, video[:1])))
        return io.NodeOutput(_checked(images, replace(video_vae, decoder=part), latent))


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
        video, device = video_of(of_part(keyframes, video_vae, "keyframes")), compute_device()
        decoder = video_vae.decoder.on(device)
        frames = torch.split(video[:1].to(device), 1, dim=2)
        images = torch.cat([to_images(decoder.decode(frame))[0].cpu() for frame in frames])
        return io.NodeOutput(_checked(images, video_vae, keyframes))


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
        audio = decoded_sound(audio_vae, latent)
        for fault in audio_faults(audio["waveform"][0]):
            warn_user(fault)
        return io.NodeOutput(audio)


def decoded_sound(audio_vae: AudioPart, latent: Latent) -> dict[str, Any]:
    """The AUDIO of a latent, with its history."""
    decoder, vocoder, audio = _sound_parts(audio_vae, latent)
    waveform, sample_rate = decode_audio(decoder, vocoder, audio)
    return {"waveform": waveform.cpu(), "sample_rate": sample_rate, MADE: sound_history(audio_vae, latent)}


def sound_pieces(audio_vae: AudioPart, latent: Latent, chunk: int) -> tuple[Iterator[Tensor], int]:
    """The stereo waveform of a latent in pieces (2, n), and its rate in Hz; chunk: latent frames at a time."""
    decoder, vocoder, audio = _sound_parts(audio_vae, latent)

    def pieces() -> Iterator[Tensor]:
        for piece in decode_audio_pieces(decoder, vocoder, audio[:1], chunk=chunk):
            give_back()
            yield piece[0]

    return pieces(), vocoder.output_sampling_rate


def sound_history(audio_vae: AudioPart, latent: Latent) -> tuple[Any, ...]:
    """What made the sound of a latent."""
    return (*made_of(latent), part_step("decode audio", audio_vae.path.name, audio_vae.decoder.dtype))


def _sound_parts(audio_vae: AudioPart, latent: Latent) -> tuple[AudioDecoder, Vocoder, Tensor]:
    audio, device = audio_of(of_part(latent, audio_vae)), compute_device()
    return audio_vae.decoder.on(device), audio_vae.vocoder.on(device), audio.to(device)


def _checked(images: Tensor, video_vae: VideoPart, latent: Latent) -> Tensor:
    """The frames with their history; the user is told what is wrong with them."""
    for fault in frame_faults(images):
        warn_user(fault)
    return with_steps(
        images, (*made_of(latent), part_step("decode video", video_vae.path.name, video_vae.decoder.dtype))
    )
