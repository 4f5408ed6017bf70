"""Joining and splitting the two streams of a LATENT."""

from __future__ import annotations

from ..samplers.streams import Streams
from .generations import generation_of, of_latent
from .host.api import io
from .latents import FRAME_RATE, ITEMS, Latent, audio_of, joined, refuse_other_duration, video_of
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
        pair = Streams(video=video_of(video), audio=audio_of(audio))
        items = Streams(video=_items(video, "video"), audio=_items(audio, "audio"))
        rest = {key: value for key, value in video.items() if key == FRAME_RATE}
        steps = merged_steps(made_of(video), made_of(audio))
        latent = {"samples": joined(pair), ITEMS: items, MADE: steps, **rest, **generation_of(video)}
        refuse_other_duration(latent)
        return io.NodeOutput(latent)


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
        video, audio = _items(latent, "video"), _items(latent, "audio")
        return io.NodeOutput(
            {**latent, "samples": video_of(latent), ITEMS: Streams(video=video)},
            {**latent, "samples": audio_of(latent), ITEMS: Streams(audio=audio)},
        )


def _items(latent: Latent, stream: str) -> tuple[object, ...]:
    return getattr(latent.get(ITEMS, Streams()), stream) or ()
