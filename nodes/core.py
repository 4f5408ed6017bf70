"""Standalone copies of the few core nodes that shared workflows need: ComfyUI's ids, inputs and outputs.

They are registered in the standalone host only; in ComfyUI its own nodes of these ids run (packaging.md 3.5).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..media.av_reader import frame_rate, read_frames, read_sound
from ..media.images import read_image
from ..media.sequences import png_texts
from .core_edges import Canny
from .core_pictures import PICTURE_NODES, transparency
from .core_sizes import SIZE_NODES
from .core_values import VALUE_NODES
from .host.api import input_file, input_files, io, output_file
from .manifest import output_tags


@dataclass(frozen=True, kw_only=True)
class VideoComponents:
    """images (F, H, W, 3) in 0 … 1; audio an AUDIO, or None for a silent clip; frames a second."""

    images: Tensor
    audio: dict[str, Any] | None
    frame_rate: Fraction


@dataclass(frozen=True)
class VideoFile:
    """VIDEO on the wires: a file that is read when somebody asks for its components.

    start: seconds that are left out, counted from the end where it is negative; duration: seconds, 0 for all.
    """

    path: Path
    start: float = 0.0
    duration: float = 0.0

    def get_components(self) -> VideoComponents:
        """Raises ValueError, one line, for a file without pictures."""
        sound, rate = read_sound(self.path), frame_rate(self.path)
        images = self._part(read_frames(self.path), 0, float(rate))
        if sound is None:
            return VideoComponents(images=images.float() / 255.0, audio=None, frame_rate=rate)
        heard = self._part(sound.waveform, 1, sound.sample_rate)
        audio = {"waveform": heard[None], "sample_rate": sound.sample_rate}
        return VideoComponents(images=images.float() / 255.0, audio=audio, frame_rate=rate)

    def _part(self, whole: Tensor, axis: int, rate: float) -> Tensor:
        """rate: entries of the axis a second."""
        count = whole.shape[axis]
        start = round(self.start * rate) if self.start >= 0 else max(count + round(self.start * rate), 0)
        length = round(self.duration * rate) if self.duration else count
        return whole.narrow(axis, min(start, count), max(min(length, count - start), 0))


class LoadImage(io.ComfyNode):
    """A picture from a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadImage",
            display_name="Load Image",
            category="image",
            inputs=[io.Combo.Input("image", options=input_files("image"), upload=io.UploadType.image)],
            outputs=[io.Image.Output("IMAGE"), io.Mask.Output("MASK")],
        )

    @classmethod
    def execute(cls, image: str) -> io.NodeOutput:
        pixels = torch.from_numpy(read_image(input_file(image)).copy()).float() / 255.0
        return io.NodeOutput(pixels[None], transparency(input_file(image))[None])

    @classmethod
    def fingerprint_inputs(cls, image: str) -> Any:
        return _fingerprint(image)


class LoadAudio(io.ComfyNode):
    """Sound from a file, also from one with pictures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadAudio",
            display_name="Load Audio",
            category="audio",
            inputs=[io.Combo.Input("audio", options=input_files("audio"), upload=io.UploadType.audio)],
            outputs=[io.Audio.Output("AUDIO")],
        )

    @classmethod
    def execute(cls, audio: str) -> io.NodeOutput:
        sound = read_sound(input_file(audio))
        if sound is None:
            raise ValueError(f"{audio}: expected a sound track, found none; choose another file")
        return io.NodeOutput({"waveform": sound.waveform[None], "sample_rate": sound.sample_rate})

    @classmethod
    def fingerprint_inputs(cls, audio: str) -> Any:
        return _fingerprint(audio)


class LoadVideo(io.ComfyNode):
    """A clip from a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadVideo",
            display_name="Load Video",
            category="video",
            inputs=[io.Combo.Input("file", options=input_files("video"), upload=io.UploadType.video)],
            outputs=[io.Video.Output("VIDEO")],
        )

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        return io.NodeOutput(VideoFile(input_file(file)))

    @classmethod
    def fingerprint_inputs(cls, file: str) -> Any:
        return _fingerprint(file)


class GetVideoComponents(io.ComfyNode):
    """A clip's frames, sound and frame rate."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GetVideoComponents",
            display_name="Get Video Components",
            category="video",
            inputs=[io.Video.Input("video")],
            outputs=[
                io.Image.Output("images"),
                io.Audio.Output("audio"),
                io.Float.Output("fps"),
                io.Int.Output("bit_depth"),
            ],
        )

    @classmethod
    def execute(cls, video: VideoFile) -> io.NodeOutput:
        found = video.get_components()
        return io.NodeOutput(found.images, found.audio, float(found.frame_rate), 8)  # read_frames gives 8 bits


class VideoSlice(io.ComfyNode):
    """Some seconds of a clip."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Video Slice",
            display_name="Trim Video",
            category="video",
            inputs=[
                io.Video.Input("video"),
                io.Float.Input("start_time", default=0.0, min=-1e5, max=1e5),
                io.Float.Input("duration", default=0.0, min=0.0),
                io.Boolean.Input("strict_duration", default=False),
            ],
            outputs=[io.Video.Output("VIDEO")],
        )

    @classmethod
    def execute(cls, video: VideoFile, start_time: float, duration: float, strict_duration: bool) -> io.NodeOutput:
        cut = replace(video, start=start_time, duration=duration)
        if strict_duration:
            found = cut.get_components()
            seconds = len(found.images) / float(found.frame_rate)
            if seconds < duration - 0.5 / float(found.frame_rate):
                raise ValueError(
                    f"{video.path.name}: expected {duration:g} s from {start_time:g} s on, found {seconds:g} s"
                )
        return io.NodeOutput(cut)


class SaveImage(io.ComfyNode):
    """Pictures to PNG files."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaveImage",
            display_name="Save Image",
            category="image",
            is_output_node=True,
            not_idempotent=True,
            inputs=[io.Image.Input("images"), io.String.Input("filename_prefix", default="ComfyUI")],
        )

    @classmethod
    def execute(cls, images: Tensor, filename_prefix: str) -> io.NodeOutput:
        entries, texts = [], png_texts(output_tags(cls.hidden, images, None))
        for picture in (images.float().clamp(0, 1) * 255).byte().cpu().numpy():
            saved = output_file(filename_prefix, ".png")
            Image.fromarray(picture).save(saved.path, pnginfo=texts)
            entries.append(saved.ui_entry())
        return io.NodeOutput(ui={"images": entries})


CORE_NODES: list[type[io.ComfyNode]] = [
    *(LoadImage, LoadAudio, LoadVideo, GetVideoComponents, VideoSlice, SaveImage),
    *SIZE_NODES,
    *PICTURE_NODES,
    *VALUE_NODES,
    Canny,
]


def _fingerprint(name: str) -> Any:
    status = input_file(name).stat()
    return status.st_mtime_ns, status.st_size
