"""A rendered film → one file, frame by frame, and the latent of one of its shots."""

from __future__ import annotations

from ...media.av_writer import Encoding, write_av
from ...media.codecs import AUTO, containers
from ...media.health import FrameHealth
from ...model_loaders.parts import AudioPart, VideoPart
from ..generations import GENERATION, of_part
from ..host.api import io, output_file, ui, warn_user
from ..latents import FRAME_RATE, joined
from ..made import MADE, Steps, merged_steps, part_step
from ..manifest import output_tags
from ..save import DEFAULT_QUALITY, PREFIX, codec_input, encoder_problem, quality_input
from ..sealing import NONE, credentials_input, credentials_problem, seal
from .rendered import FilmType, Rendered
from .sound import FilmSound


class ShotsToFile(io.ComfyNode):
    """Renderings → a file with picture and sound."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        names = [suffix.removeprefix(".") for suffix in containers()]
        return io.Schema(
            node_id="OpenLTXShotsToFile",
            display_name="Shots to AV File (LTX)",
            category="OpenLTX/shots",
            description="Decodes a film shot by shot into one file with one sound track; decoded frames stay in the "
            "cache (8 bits). Memory does not grow with the number of shots.",
            is_output_node=True,
            not_idempotent=True,
            inputs=[
                FilmType.Input("film", tooltip="From Sample Shots (LTX)."),
                io.Vae.Input("video_vae", tooltip="From a loader."),
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
        film: Rendered,
        video_vae: VideoPart,
        filename_prefix: str,
        container: str,
        audio_vae: AudioPart | None = None,
        codec: str = AUTO,
        quality: int = DEFAULT_QUALITY,
        credentials: str = NONE,
    ) -> io.NodeOutput:
        of_part({} if film.generation is None else {GENERATION: film.generation}, video_vae, "film")
        saved, health = output_file(filename_prefix, f".{container}"), FrameHealth()
        silent = audio_vae is None or not containers()[f".{container}"].audio
        sound = None if audio_vae is None or silent else FilmSound.of(film, audio_vae)
        write_av(
            saved.path,
            health.watch(film.frames(video_vae)),
            frame_rate=film.film.fps,
            waveform=sound,
            sample_rate=48000 if sound is None else sound.rate,
            encoding=Encoding(video=codec, quality=None if quality == DEFAULT_QUALITY else quality),
            tags=output_tags(cls.hidden, {MADE: steps_of(film, video_vae)}, None),
            finish=seal(credentials, cls.hidden),
        )
        for fault in health.faults():
            warn_user(fault)
        return io.NodeOutput(ui=ui.PreviewVideo([saved.ui_entry()]))


class ShotLatent(io.ComfyNode):
    """One shot of a rendered film, for other nodes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXShotLatent",
            display_name="Latent of a Shot (LTX)",
            category="OpenLTX/shots",
            description="The latent of one shot as it was rendered, to upscale, to change or to save by itself. A "
            "continued shot begins with what it was given of the one before.",
            inputs=[
                FilmType.Input("film", tooltip="From Sample Shots (LTX)."),
                io.String.Input("shot", default="1", tooltip="Name of the shot; without one its number."),
            ],
            outputs=[io.Latent.Output("latent", tooltip="Video and audio latent.")],
        )

    @classmethod
    def execute(cls, film: Rendered, shot: str) -> io.NodeOutput:
        piece = film.piece(shot)
        mark = {} if film.generation is None else {GENERATION: film.generation}
        steps = film.steps(piece)
        pair = film.latents(piece)
        return io.NodeOutput({**mark, "samples": joined(pair), FRAME_RATE: film.film.fps, MADE: steps})


def steps_of(film: Rendered, video_vae: VideoPart) -> Steps:
    """How all pieces were made, for the run manifest."""
    last = part_step("decode video", video_vae.path.name, video_vae.decoder.dtype)
    return (*merged_steps(*(film.steps(piece) for piece in film.keys)), last)
