"""Loading a clip from a file: a part of it, at another frame rate if asked for."""

from __future__ import annotations

from typing import Any

from ..media import av_reader
from ..media.av_reader import Sound, read_frames_at, read_frames_between, read_sound
from ..media.retime import exact_rate
from .host.api import input_file, input_files, io


class LoadClip(io.ComfyNode):
    """A file → frames, sound, frame rate."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXLoadClip",
            display_name="Load Clip (LTX)",
            category="OpenLTX/loaders",
            description="Frames and sound of a video file, cut to a range of seconds. Upright, colours by the file's "
            "tags, more than 8 bits kept.",
            inputs=[
                io.Combo.Input(
                    "file", options=input_files("video"), tooltip="A video file.", upload=io.UploadType.video
                ),
                io.Float.Input("start", default=0.0, min=0.0, max=1e6, step=0.001, tooltip="Seconds from the start."),
                io.Float.Input("seconds", default=0.0, min=0.0, max=1e6, step=0.001, tooltip="Seconds; 0: to the end."),
                io.Float.Input(
                    "frame_rate",
                    default=0.0,
                    min=0.0,
                    max=240.0,
                    step=0.001,
                    tooltip="Frames a second to bring the clip to, by repeating and leaving out frames; 0: as it is.",
                ),
            ],
            outputs=[
                io.Image.Output("images", tooltip="Frames, sRGB from 0 to 1."),
                io.Audio.Output("audio", tooltip="The sound of the same seconds, nothing for a silent file."),
                io.Float.Output("frame_rate", tooltip="Frames a second."),
            ],
        )

    @classmethod
    def execute(cls, file: str, start: float, seconds: float, frame_rate: float) -> io.NodeOutput:
        path, span = input_file(file), seconds or None
        rate = exact_rate(frame_rate) if frame_rate else av_reader.frame_rate(path)
        if frame_rate:
            frames = read_frames_at(path, rate, start=start, seconds=span, deep=True)
        else:
            frames = read_frames_between(path, start, span, deep=True)
        sound = read_sound(path, start=start, seconds=len(frames) / float(rate))
        return io.NodeOutput(frames / 255.0, _audio(sound), float(rate))

    @classmethod
    def fingerprint_inputs(cls, file: str, start: float, seconds: float, frame_rate: float) -> Any:
        status = input_file(file).stat()
        return status.st_mtime_ns, status.st_size, start, seconds, frame_rate


def _audio(sound: Sound | None) -> dict[str, Any] | None:
    return None if sound is None else {"waveform": sound.waveform[None], "sample_rate": sound.sample_rate}
