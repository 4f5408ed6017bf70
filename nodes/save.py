"""Saving: frames and sound → one file, sound alone, frames one by one."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any

from torch import Tensor

from ..media.av_writer import Encoding, write_audio, write_av
from ..media.codecs import AUDIO_CODECS, AUDIO_CONTAINERS, AUTO, VIDEO_CODECS, containers
from ..media.hardware import check_encoder
from ..media.hdr import SOURCE_SPACES, source_space
from ..media.health import audio_faults, frame_faults
from ..media.sequences import write_exr_sequence, write_png_sequence
from ..networks.audio_vae.waveform import to_stereo
from .host.api import io, output_file, progress, ui, warn_user
from .made import made_of
from .manifest import output_tags
from .sealing import NONE, credentials_input, credentials_problem, seal

FRAMES_A_CHUNK = 8
DEFAULT_QUALITY = -1
PREFIX = "Name in the output folder; may name a sub-folder."


class SaveAV(io.ComfyNode):
    """Frames and sound → one file with both."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXSaveAV",
            display_name="Save AV File (LTX)",
            category="OpenLTX/save",
            description="By default H.264 and AAC, exact frame rate; the sound is cut or padded to the video's length.",
            is_output_node=True,
            not_idempotent=True,
            inputs=[
                io.Image.Input("images", tooltip="Frames; scene-linear ones for the codec h265_hlg."),
                io.Float.Input("frame_rate", default=24.0, min=1.0, max=240.0, step=0.001, tooltip="Frames a second."),
                io.String.Input("filename_prefix", default="openltx", tooltip=PREFIX),
                io.Combo.Input(
                    "container", options=_names(containers()), default="mp4", tooltip="Kind of file; gif, webp: silent."
                ),
                io.Audio.Input("audio", optional=True, tooltip="Stereo sound; none: a silent video."),
                codec_input(),
                quality_input(),
                io.Combo.Input(
                    "audio_codec",
                    options=[AUTO, *AUDIO_CODECS],
                    default=AUTO,
                    optional=True,
                    tooltip="auto: aac, in webm opus. flac and pcm lose nothing beyond 16 bits.",
                ),
                io.Combo.Input(
                    "audio_length",
                    options=["video", "own"],
                    default="video",
                    optional=True,
                    tooltip="video: cut, or filled up with silence, to the video's length; own: as long as it is.",
                ),
                credentials_input(),
            ],
        )

    @classmethod
    def validate_inputs(cls, credentials: str | None = NONE, codec: str | None = AUTO) -> bool | str:
        return encoder_problem(codec) or credentials_problem(credentials)

    @classmethod
    def execute(
        cls,
        images: Tensor,
        frame_rate: float,
        filename_prefix: str,
        container: str,
        audio: dict[str, Any] | None = None,
        codec: str = AUTO,
        quality: int = DEFAULT_QUALITY,
        audio_codec: str = AUTO,
        audio_length: Any = "video",
        credentials: str = NONE,
    ) -> io.NodeOutput:
        saved = output_file(filename_prefix, f".{container}")
        sound = None if audio is None or not containers()[f".{container}"].audio else stereo(audio["waveform"][0])
        tell_faults(images, None if sound is None else audio)
        write_av(
            saved.path,
            _chunks(images),
            frame_rate=frame_rate,
            waveform=sound,
            sample_rate=48000 if audio is None else int(audio["sample_rate"]),
            encoding=Encoding(
                video=codec,
                audio=audio_codec,
                quality=None if quality == DEFAULT_QUALITY else quality,
                sound_length=audio_length,
            ),
            tags=output_tags(cls.hidden, images, None if sound is None else audio),
            finish=seal(credentials, cls.hidden),
        )
        return io.NodeOutput(ui=ui.PreviewVideo([saved.ui_entry()]))


class SaveAudio(io.ComfyNode):
    """Sound → a file of its own."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXSaveAudio",
            display_name="Save Audio File (LTX)",
            category="OpenLTX/save",
            description="Stereo sound at its own rate.",
            is_output_node=True,
            not_idempotent=True,
            inputs=[
                io.Audio.Input("audio", tooltip="Sound."),
                io.String.Input("filename_prefix", default="openltx", tooltip=PREFIX),
                io.Combo.Input(
                    "container",
                    options=_names(AUDIO_CONTAINERS),
                    default="wav",
                    tooltip="Kind of file; wav and flac lose nothing beyond 16 bits.",
                ),
                credentials_input(),
            ],
        )

    @classmethod
    def validate_inputs(cls, credentials: str | None = NONE) -> bool | str:
        return credentials_problem(credentials)

    @classmethod
    def execute(
        cls, audio: dict[str, Any], filename_prefix: str, container: str, credentials: str = NONE
    ) -> io.NodeOutput:
        saved, sound = output_file(filename_prefix, f".{container}"), stereo(audio["waveform"][0])
        tell_faults(None, audio)
        tags = output_tags(cls.hidden, None, audio)
        finish = seal(credentials, cls.hidden)
        write_audio(saved.path, sound, sample_rate=int(audio["sample_rate"]), tags=tags, finish=finish)
        return io.NodeOutput(ui=ui.SavedAudios([saved.ui_entry()]))


class SaveFrames(io.ComfyNode):
    """Frames → a folder with a file each."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXSaveFrames",
            display_name="Save Frames (LTX)",
            category="OpenLTX/save",
            description="A folder of PNG files, or of half-float EXR files with the tags of their colour space.",
            is_output_node=True,
            not_idempotent=True,
            inputs=[
                io.Image.Input("images", tooltip="Frames; for EXR the values to store."),
                io.String.Input("filename_prefix", default="openltx", tooltip=PREFIX),
                io.Combo.Input(
                    "kind",
                    options=["png", *(f"exr {name}" for name in SOURCE_SPACES)],
                    default="png",
                    tooltip="png: 8 bit. exr: half floats; the name says what the frames hold.",
                ),
                credentials_input(),
            ],
        )

    @classmethod
    def validate_inputs(cls, credentials: str | None = NONE) -> bool | str:
        return credentials_problem(credentials)

    @classmethod
    def execute(cls, images: Tensor, filename_prefix: str, kind: str, credentials: str = NONE) -> io.NodeOutput:
        saved = output_file(filename_prefix, f"_{kind[:3]}")
        tell_faults(images, None)
        tags, finish = output_tags(cls.hidden, images, None), seal(credentials, cls.hidden)
        if kind == "png":
            write_png_sequence(saved.path, _chunks(images), tags=tags, finish=finish)
        else:
            space = source_space(kind.removeprefix("exr "))
            write_exr_sequence(saved.path, _chunks(images), space, tags=tags, finish=finish)
        shown = ui.PreviewText(f"{len(images)} frames in {saved.path}").as_dict()
        return io.NodeOutput(ui={**shown, "folders": [saved.ui_entry()]})


def codec_input(without: Container[str] = ("gif", "webp")) -> io.Combo.Input:
    """Of a node that writes video files; gif and webp are chosen as containers."""
    return io.Combo.Input(
        "codec",
        options=[AUTO, *(name for name in VIDEO_CODECS if name not in without)],
        default=AUTO,
        optional=True,
        tooltip="auto: h264, in webm vp9. prores for editing (mov), ffv1 lossless (mkv). nvenc, qsv, amf, "
        "videotoolbox: on the graphics chip, where there is one.",
    )


def quality_input() -> io.Int.Input:
    return io.Int.Input(
        "quality",
        default=DEFAULT_QUALITY,
        min=DEFAULT_QUALITY,
        max=100,
        optional=True,
        tooltip="The codec's own figure; crf: smaller is better, 0 loses nothing in h264 and h265. "
        "-1: the codec's default.",
    )


def encoder_problem(codec: str | None) -> str | None:
    """For `validate_inputs`: a chip that is not there shows before a long run, not after it."""
    if codec in (None, AUTO):
        return None
    if codec not in VIDEO_CODECS:  # ComfyUI leaves the check of the list to who asks for the value
        return f"codec: expected {AUTO} or one of {', '.join(VIDEO_CODECS)}, found {codec!r}"
    try:
        check_encoder(VIDEO_CODECS[codec])
    except ValueError as error:
        return f"codec: {error}"
    return None


def stereo(waveform: Tensor) -> Tensor:
    """(channels, samples) → (2, samples): mono is doubled, surround mixed down (audio.md 3.1)."""
    return to_stereo(waveform[None].float())[0]


def tell_faults(images: Tensor | None, audio: dict[str, Any] | None) -> None:
    """A line a fault; what our decoders made was looked at there."""
    if images is not None and not made_of(images):
        for fault in frame_faults(images):
            warn_user(fault)
    if audio is not None and not made_of(audio):
        for fault in audio_faults(audio["waveform"][0]):
            warn_user(fault)


def _names(containers: dict[str, Any]) -> list[str]:
    return [suffix.removeprefix(".") for suffix in containers]


def _chunks(images: Tensor) -> Iterator[Tensor]:
    """The frames in pieces, without alpha, counted on the node's bar."""
    bar = progress(len(images))
    for first in range(0, len(images), FRAMES_A_CHUNK):
        chunk = images[first : first + FRAMES_A_CHUNK, ..., :3]
        yield chunk
        bar.update(len(chunk))
