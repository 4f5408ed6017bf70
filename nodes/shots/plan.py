"""Shot List: a text → what is to be rendered, with its encoded prompts."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...model_loaders.parts import TextPart
from ...shots.film import Film
from ...shots.reading import read_film
from ...shots.table import planned
from ...shots.timeline import Timeline, lay_out
from ..conditioning import EncodePrompt
from ..contexts import Conditioning
from ..host.api import input_file, io, model_path, ui

ShotsType = io.Custom("OPENLTX_SHOTS")
EXAMPLE = """\
[film]
width = 128
height = 128
window = 2.0
overlap = 0.7

[[shot]]
length = 2
prompt = "a large red ball bounces on a grey floor, a low knock at each bounce"

[[shot]]
length = 2
prompt = "a large blue box slides right on a grey floor, a steady low hum"
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class ShotPlan:
    """A film, where its shots lie, and the encoded text of each."""

    film: Film
    timeline: Timeline
    prompts: tuple[Conditioning, ...] = field(repr=False)


class ShotList(io.ComfyNode):
    """A film as a text."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXShotList",
            display_name="Shot List (LTX)",
            category="OpenLTX/shots",
            description="A film as a text: shots with their length, prompt, pictures, sounds and transitions. It shows "
            "the plan; mistakes are named with their line.",
            inputs=[
                io.Clip.Input("text_encoder", tooltip="From Load LTX Model."),
                io.String.Input(
                    "text", default=EXAMPLE, multiline=True, tooltip="The shot list, in TOML; its grammar: see help."
                ),
                io.String.Input(
                    "folder",
                    default="",
                    optional=True,
                    tooltip="Where file names in the text begin, within the input folder; empty: the input folder.",
                ),
            ],
            outputs=[
                ShotsType.Output("shots", tooltip="For Sample Shots (LTX)."),
                io.Conditioning.Output("first_prompt", tooltip="Of the first shot, for the guider's node."),
                io.Float.Output("frame_rate", tooltip="Frames a second."),
                io.Int.Output("frames", tooltip="Frames of the film."),
                io.String.Output("plan", tooltip="The plan as a table: times, lengths, transitions."),
            ],
        )

    @classmethod
    def validate_inputs(cls, text: str | None = None, folder: str | None = None) -> bool | str:
        """Mistakes are told before any model is loaded; a text that comes over a wire is not known yet."""
        try:
            if text is not None:
                lay_out(film_of(text, folder or ""))
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, text_encoder: TextPart, text: str, folder: str = "") -> io.NodeOutput:
        film = film_of(text, folder)
        timeline, table = lay_out(film), planned(film)
        prompts = tuple(encoded(text_encoder, shot.text) for shot in film.shots)
        plan = ShotPlan(film=film, timeline=timeline, prompts=prompts)
        return io.NodeOutput(plan, prompts[0], film.fps, timeline.frames, table, ui=ui.PreviewText(table))

    @classmethod
    def fingerprint_inputs(cls, text: str, folder: str = "", **others: Any) -> Any:
        """The files that it names may change while the text stays."""
        try:
            film = film_of(text, folder)
        except ValueError:
            return text, folder
        return text, folder, [(str(path), path.stat().st_mtime_ns) for path in film.files()]


def film_of(text: str, folder: str) -> Film:
    """The film of a text, its files found by the host."""

    def find(name: str) -> Path:
        return input_file(os.path.join(folder, name))

    def find_lora(name: str) -> Path:
        return model_path("loras", name)

    return read_film(text, find=find, find_lora=find_lora)


def encoded(text_encoder: TextPart, text: str) -> Conditioning:
    """CONDITIONING of one prompt."""
    found: Conditioning = EncodePrompt.execute(text_encoder, text).args[0]
    return found
