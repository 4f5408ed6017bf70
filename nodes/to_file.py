"""Decoding straight into a file: a clip of any length in the memory of a few frames."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ..media.av_writer import Encoding, write_av
from ..media.codecs import AUTO, containers
from ..media.health import FrameHealth, SoundHealth
from ..media.stored_sound import StoredSound, stored_sound
from ..model_loaders.parts import AudioPart, VideoPart
from .decode import sound_history, sound_pieces
from .frames import decoded_frames
from .generations import of_part
from .host.api import io, output_file, ui, warn_user
from .latents import Latent, video_of
from .made import MADE, made_of, part_step
from .manifest import DIGEST, output_tags
from .save import DEFAULT_QUALITY, PREFIX, codec_input, encoder_problem, quality_input
from .sealing import NONE, credentials_input, credentials_problem, seal

SOUND_CHUNK = 25  # latent frames, one second: a sound of 20 s would need more at once than the pictures do


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
        step = part_step("decode video", video_vae.path.name, video_vae.decoder.dtype)
        health = FrameHealth(), SoundHealth()
        with ExitStack() as stack:
            sound = None
            if audio_vae is not None and containers()[f".{container}"].audio:
                sound = stack.enter_context(_decoded_sound(saved.path, audio_vae, latent, health[1]))
            write_av(
                saved.path,
                health[0].watch(decoded_frames(video_vae.decoder, video)),
                frame_rate=frame_rate,
                waveform=None if sound is None else sound.stored,
                sample_rate=48000 if sound is None else sound.rate,
                encoding=Encoding(video=codec, quality=None if quality == DEFAULT_QUALITY else quality),
                tags=output_tags(cls.hidden, {MADE: (*made_of(latent), step)}, sound and sound.history),
                finish=seal(credentials, cls.hidden),
            )
        for fault in [*health[0].faults(), *(health[1].faults() if sound else ())]:
            warn_user(fault)
        return io.NodeOutput(ui=ui.PreviewVideo([saved.ui_entry()]))


class _Sound(NamedTuple):
    stored: StoredSound
    rate: int  # Hz
    history: dict[str, Any]


@contextmanager
def _decoded_sound(path: Path, audio_vae: AudioPart, latent: Latent, health: SoundHealth) -> Iterator[_Sound]:
    """The sound of a file to come, on the disk while the block lasts."""
    pieces, rate = sound_pieces(audio_vae, latent, SOUND_CHUNK)
    with stored_sound(path, health.watch(pieces)) as stored:
        yield _Sound(stored, rate, {MADE: sound_history(audio_vae, latent), DIGEST: stored.digest()})
