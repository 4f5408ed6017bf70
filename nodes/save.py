"""Saving: frames and sound → one file."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..media.av_writer import CONTAINERS, write_av
from .host.api import io, output_file, progress, ui

FRAMES_A_CHUNK = 8


class SaveAV(io.ComfyNode):
    """Frames and sound → one file with both."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXSaveAV",
            display_name="Save AV File (LTX)",
            category="OpenLTX/save",
            description="H.264 and AAC, exact frame rate; the sound is cut or padded to the video's length.",
            is_output_node=True,
            not_idempotent=True,
            inputs=[
                io.Image.Input("images", tooltip="Frames."),
                io.Float.Input("frame_rate", default=24.0, min=1.0, max=240.0, step=0.001, tooltip="Frames a second."),
                io.String.Input(
                    "filename_prefix", default="openltx", tooltip="Name in the output folder; may name a sub-folder."
                ),
                io.Combo.Input(
                    "container",
                    options=[suffix.removeprefix(".") for suffix in CONTAINERS],
                    default="mp4",
                    tooltip="Kind of file.",
                ),
                io.Audio.Input("audio", optional=True, tooltip="Stereo sound; none: a silent video."),
            ],
        )

    @classmethod
    def execute(
        cls,
        images: Tensor,
        frame_rate: float,
        filename_prefix: str,
        container: str,
        audio: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        saved = output_file(filename_prefix, f".{container}")
        bar = progress(len(images))

        def chunks() -> Any:
            for chunk in torch.split(images, FRAMES_A_CHUNK):
                yield chunk[..., :3]
                bar.update(len(chunk))

        write_av(
            saved.path,
            chunks(),
            frame_rate=frame_rate,
            waveform=None if audio is None else stereo(audio["waveform"][0]),
            sample_rate=48000 if audio is None else int(audio["sample_rate"]),
        )
        return io.NodeOutput(ui=ui.PreviewVideo([saved.ui_entry()]))


def stereo(waveform: Tensor) -> Tensor:
    """(channels, samples) → (2, samples): mono is doubled; ValueError for other counts."""
    if waveform.shape[0] not in (1, 2):
        raise ValueError(f"audio: expected one or two channels, found {waveform.shape[0]}; mix it down first")
    return waveform.expand(2, -1)
