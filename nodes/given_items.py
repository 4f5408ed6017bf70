"""Sound that drives video, video that drives sound, and a voice to keep."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..model_loaders.parts import AudioPart, VideoPart
from ..samplers.conditioning import GivenStream, ReferenceAudio, fit_audio_latent
from .encode import clip_frames, encode_frames, encode_sound, present_sound, seconds_of, silence_to
from .generations import of_latent, of_part
from .host.api import io, warn_user
from .latents import Latent, audio_of, pixel_size, video_of, with_audio_item, with_video_item


class GivenAudio(io.ComfyNode):
    """The sound is given; the video follows it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXGivenAudio",
            display_name="Condition: Given Audio (LTX)",
            category="OpenLTX/conditioning",
            description="Audio to video: the sound stays as it is. Save the original sound, not the decoded one.",
            inputs=[
                io.Latent.Input("latent", tooltip="The latent of the stage that will be sampled."),
                io.Vae.Input("audio_vae", tooltip="From a loader."),
                io.Audio.Input("audio", tooltip="The sound; cut to the clip, or filled up with silence."),
            ],
            outputs=[io.Latent.Output("latent", tooltip="The latent with the sound.")],
        )

    @classmethod
    def execute(cls, latent: Latent, audio_vae: AudioPart, audio: dict[str, Any] | None) -> io.NodeOutput:
        latent = of_part(latent, audio_vae)
        audio, frames = present_sound(audio), audio_of(latent).shape[2]
        wanted, found = (frames + 1) / 25, seconds_of(audio)
        if found < frames / 25:
            warn_user(f"audio: {found:.2f} s of sound for a clip of {frames / 25:.2f} s: the rest is silence")
        content = fit_audio_latent(encode_sound(audio_vae, silence_to(audio, wanted)), frames)
        return io.NodeOutput(with_audio_item(latent, GivenStream(latent=content)))


class GivenVideo(io.ComfyNode):
    """The video is given; the sound follows it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXGivenVideo",
            display_name="Condition: Given Video (LTX)",
            category="OpenLTX/conditioning",
            description="Video to audio: the picture stays as it is, the sound is made for it.",
            inputs=[
                io.Latent.Input("latent", tooltip="The latent of the stage that will be sampled."),
                io.Vae.Input("video_vae", tooltip="From a loader."),
                io.Image.Input("images", tooltip="The clip, at least as long as the latent."),
            ],
            outputs=[io.Latent.Output("latent", tooltip="The latent with the video.")],
        )

    @classmethod
    def execute(cls, latent: Latent, video_vae: VideoPart, images: Tensor) -> io.NodeOutput:
        latent = of_part(latent, video_vae)
        frames = clip_frames(video_of(latent))
        if len(images) < frames:
            raise ValueError(f"images: expected at least {frames} frames, found {len(images)}; make the latent shorter")
        content = encode_frames(video_vae, images[:frames], *pixel_size(latent))
        return io.NodeOutput(with_video_item(latent, GivenStream(latent=content)))


class FreezeStream(io.ComfyNode):
    """A stream of the latent itself stays as it is."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXFreezeStream",
            display_name="Condition: Freeze Stream (LTX)",
            category="OpenLTX/conditioning",
            description="Keeps the video or the sound that the latent already holds, and generates the other one.",
            inputs=[
                io.Latent.Input("latent", tooltip="A latent with content, for instance of a former stage."),
                io.Combo.Input("stream", options=["audio", "video"], default="audio", tooltip="What stays."),
            ],
            outputs=[io.Latent.Output("latent", tooltip="The latent with one stream frozen.")],
        )

    @classmethod
    def execute(cls, latent: Latent, stream: str) -> io.NodeOutput:
        if stream == "audio":
            return io.NodeOutput(with_audio_item(latent, GivenStream(latent=audio_of(latent))))
        return io.NodeOutput(with_video_item(latent, GivenStream(latent=video_of(latent))))


class ReferenceVoice(io.ComfyNode):
    """A voice to speak with."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXReferenceVoice",
            display_name="Condition: Reference Voice (LTX)",
            category="OpenLTX/conditioning",
            description="Speaker identity: the sound to generate takes the voice of this one (with a dubbing LoRA).",
            inputs=[
                io.Latent.Input("latent", tooltip="The latent of the stage that will be sampled."),
                io.Float.Input("strength", default=1.0, min=0.0, max=1.0, step=0.01, tooltip="1 keeps it exactly."),
                io.Vae.Input("audio_vae", optional=True, tooltip="From a loader; to encode `audio`."),
                io.Audio.Input("audio", optional=True, tooltip="A sample of the voice, of any length."),
                io.Latent.Input("reference", optional=True, tooltip="Or the voice as a latent, of a former stage."),
            ],
            outputs=[io.Latent.Output("latent", tooltip="The latent with the voice.")],
        )

    @classmethod
    def execute(
        cls,
        latent: Latent,
        strength: float,
        audio_vae: AudioPart | None = None,
        audio: dict[str, Any] | None = None,
        reference: Latent | None = None,
    ) -> io.NodeOutput:
        if reference is not None:
            latent = of_latent(latent, reference, "reference")
            voice = audio_of(reference)
        elif audio_vae is not None:
            latent = of_part(latent, audio_vae)
            voice = encode_sound(audio_vae, audio)
        else:
            raise ValueError(
                "reference voice: expected a latent, or sound and an audio VAE, found neither; connect one"
            )
        return io.NodeOutput(with_audio_item(latent, ReferenceAudio(latent=voice, strength=strength)))
