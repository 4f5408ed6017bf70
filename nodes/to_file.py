"""Decoding straight into a file: a clip of any length in the memory of a few frames."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from ..media.av_writer import Encoding, write_av
from ..media.codecs import AUTO, containers
from ..media.health import FrameHealth, audio_faults
from ..model_loaders.parts import AudioPart, VideoPart
from .decode import decoded_sound
from .frames import decoded_frames
from .generations import of_part
from .host.api import io, output_file, ui, warn_user
from .latents import Latent, video_of
from .made import MADE, made_of, part_step
from .manifest import output_tags
from .save import DEFAULT_QUALITY, PREFIX, codec_input, encoder_problem, quality_input, stereo
from .sealing import NONE, credentials_input, credentials_problem, seal

SOUND_CHUNK = 25  # latent frames, one second: a sound of 20 s would need more at once than the pictures beside it


class DecodeToFile(io.ComfyNode):
    """Latent → a file with picture and sound; no frame is kept."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        names = [suffix.removeprefix(".") for suffix in containers()]
        return io.Schema(
            node_id="OpenLTXDecodeToFile",
            display_name="Decode to AV File (LTX)",
            category="OpenLTX/save",
            description="Decodes picture and sound straight into a file: memory does not grow with the clip's length.",
            is_output_node=True,
            not_idempotent=True,
            inputs=[
                io.Vae.Input("video_vae", tooltip="From a loader."),
                io.Latent.Input("latent", tooltip="The finished latent."),
                io.Float.Input("frame_rate", default=24.0, min=1.0, max=240.0, step=0.001, tooltip="Frames a second."),
                io.String.Input("filename_prefix", default="openltx", tooltip=PREFIX),
                io.Combo.Input("container", options=names, default="mp4", tooltip="Kind of file; gif, webp: silent."),
                io.Vae.Input("audio_vae", optional=True, tooltip="From a loader; none: a silent video."),
                codec_input(without=("gif", "webp", "h265_hlg")),
                quality_input(),
                credentials_input(),
            ],
        )

    @classmethod
    def validate_inputs(cls, credentials: str | None = NONE, codec: str | None = AUTO) -> bool | str:
        return encoder_problem(codec) or credentials_problem(credentials)

    @classmethod
    def execute(
        cls,
        video_vae: VideoPart,
        latent: Latent,
        frame_rate: float,
        filename_prefix: str,
        container: str,
        audio_vae: AudioPart | None = None,
        codec: str = AUTO,
        quality: int = DEFAULT_QUALITY,
        credentials: str = NONE,
    ) -> io.NodeOutput:
        saved, video = output_file(filename_prefix, f".{container}"), video_of(of_part(latent, video_vae))[:1]
        audio = None
        if audio_vae is not None and containers()[f".{container}"].audio:
            audio = decoded_sound(audio_vae, latent, chunk=SOUND_CHUNK)
        step = part_step("decode video", video_vae.path.name, video_vae.decoder.dtype)
        health = FrameHealth()
        write_av(
            saved.path,
            health.watch(decoded_frames(video_vae.decoder, video)),
            frame_rate=frame_rate,
            waveform=None if audio is None else stereo(audio["waveform"][0]),
            sample_rate=48000 if audio is None else int(audio["sample_rate"]),
            encoding=Encoding(video=codec, quality=None if quality == DEFAULT_QUALITY else quality),
            tags=output_tags(cls.hidden, {MADE: (*made_of(latent), step)}, audio),
            finish=seal(credentials, cls.hidden),
        )
        for fault in [*health.faults(), *_sound_faults(audio)]:
            warn_user(fault)
        return io.NodeOutput(ui=ui.PreviewVideo([saved.ui_entry()]))


def _sound_faults(audio: dict[str, Any] | None) -> Iterator[str]:
    if audio is not None:
        waveform: Tensor = audio["waveform"][0]
        yield from audio_faults(waveform)
