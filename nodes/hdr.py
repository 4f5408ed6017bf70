"""HDR: EXR files in, codes for the model, scene-linear light and previews out (spec media_io.md 4.3, 5).

A clip's way: Load EXR → Light to Codes → Encode Video … Decode Video → Codes to Light → Save Frames (exr), Save AV File
(h265_hlg), or HDR Preview.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from ..media import hdr
from ..media.curves import tonemapped
from ..media.exr import exr_folder, read_exr_frames
from ..media.hdr import SOURCE_SPACES, WORKING_SPACES, from_codes, source_space, to_codes
from ..media.resize import fill_and_crop, fit_and_pad
from .host.api import input_sequence, input_sequences, io
from .made import made_of, with_steps

UNDECLARED = "declare it"  # an EXR file's numbers mean nothing until somebody says what they are
WORKING = "acescct: LTX-2.5's own HDR; logc3: HDR IC-LoRAs of LTX-2.3."


class LoadEXR(io.ComfyNode):
    """EXR files → frames."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXLoadEXR",
            display_name="Load EXR (LTX)",
            category="OpenLTX/hdr",
            description="An EXR still, or a folder of them as a clip; values as they are in the files, above 1 too.",
            inputs=[
                io.Combo.Input(
                    "source",
                    options=input_sequences(".exr"),
                    tooltip="An .exr file, or a folder whose .exr files are the frames, in the order of their names.",
                ),
                io.Int.Input("first", default=0, min=0, max=1_000_000, tooltip="First frame of a folder, from 0."),
                io.Int.Input("frames", default=0, min=0, max=8193, tooltip="How many frames; 0: to the end."),
            ],
            outputs=[io.Image.Output("images", tooltip="Frames; for Light to Codes.")],
        )

    @classmethod
    def execute(cls, source: str, first: int, frames: int) -> io.NodeOutput:
        path = input_sequence(source)
        paths = exr_folder(path) if path.is_dir() else [path]
        return io.NodeOutput(read_exr_frames(paths, start=first, count=frames or None))

    @classmethod
    def fingerprint_inputs(cls, source: str, first: int, frames: int) -> object:
        path = input_sequence(source)
        paths = sorted(path.iterdir()) if path.is_dir() else [path]
        return [(entry.name, entry.stat().st_mtime_ns, entry.stat().st_size) for entry in paths], first, frames


class LightToCodes(io.ComfyNode):
    """EXR values → codes that a model takes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXLightToCodes",
            display_name="Light to Codes (LTX)",
            category="OpenLTX/hdr",
            description="Encodes scene-linear light for a model. Sizes are changed before, on light. Condition such "
            "pictures with crf 0.",
            inputs=[
                io.Image.Input("images", tooltip="From Load EXR (LTX)."),
                io.Combo.Input(
                    "space", options=[UNDECLARED, *SOURCE_SPACES], default=UNDECLARED, tooltip="What the numbers mean."
                ),
                io.Combo.Input("working_space", options=list(WORKING_SPACES), default="acescct", tooltip=WORKING),
                io.Int.Input("width", default=0, min=0, max=16384, tooltip="Pixels; 0: the frames' own."),
                io.Int.Input("height", default=0, min=0, max=16384, tooltip="Pixels; 0: the frames' own."),
                io.Combo.Input(
                    "fit",
                    options=["crop", "pad"],
                    default="crop",
                    tooltip="crop: fills the size, for stills and retakes; pad: fits into it, for references.",
                ),
            ],
            outputs=[io.Image.Output("images", tooltip="Codes from 0 to 1.")],
        )

    @classmethod
    def execute(
        cls, images: Tensor, space: str, working_space: str, width: int, height: int, fit: Literal["crop", "pad"]
    ) -> io.NodeOutput:
        source = source_space(None if space == UNDECLARED else space)
        size = height or images.shape[1], width or images.shape[2]
        scaled = (fill_and_crop if fit == "crop" else fit_and_pad)(images[..., :3], *size)
        return io.NodeOutput(to_codes(scaled, source, hdr.working_space(working_space)))


class CodesToLight(io.ComfyNode):
    """A model's codes → EXR values."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXCodesToLight",
            display_name="Codes to Light (LTX)",
            category="OpenLTX/hdr",
            description="Decodes frames of an HDR model. For the codec h265_hlg take SRGB_LINEAR; for Save Frames the "
            "space that you choose there.",
            inputs=[
                io.Image.Input("images", tooltip="From Decode Video (LTX), with the VAE in float32."),
                io.Combo.Input("working_space", options=list(WORKING_SPACES), default="acescct", tooltip=WORKING),
                io.Combo.Input(
                    "space",
                    options=list(SOURCE_SPACES),
                    default="SRGB_LINEAR",
                    tooltip="SRGB_LINEAR and ACESCG: scene-linear light in these primaries; ACESCCT: codes.",
                ),
                io.Int.Input("width", default=0, min=0, max=16384, tooltip="Pixels kept at the left; 0: all (no pad)."),
                io.Int.Input("height", default=0, min=0, max=16384, tooltip="Pixels kept at the top; 0: all (no pad)."),
            ],
            outputs=[io.Image.Output("images", tooltip="Light; bright parts lie above 1.")],
        )

    @classmethod
    def execute(cls, images: Tensor, working_space: str, space: str, width: int, height: int) -> io.NodeOutput:
        kept = images[:, : height or None, : width or None, :3]
        light = from_codes(kept, source_space(space), hdr.working_space(working_space))
        return io.NodeOutput(with_steps(light, made_of(images)))


class PreviewHDR(io.ComfyNode):
    """Scene-linear light → a picture for ordinary screens."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXPreviewHDR",
            display_name="HDR Preview (LTX)",
            category="OpenLTX/hdr",
            description="Tone-maps scene-linear Rec.709 light to sRGB: exposure, x / (1 + x), sRGB curve.",
            inputs=[
                io.Image.Input("images", tooltip="Scene-linear light in Rec.709 (SRGB_LINEAR)."),
                io.Float.Input(
                    "exposure", default=0.0, min=-20.0, max=20.0, step=0.1, tooltip="Stops; 1 doubles the light."
                ),
            ],
            outputs=[io.Image.Output("images", tooltip="sRGB frames from 0 to 1.")],
        )

    @classmethod
    def execute(cls, images: Tensor, exposure: float) -> io.NodeOutput:
        return io.NodeOutput(with_steps(tonemapped(images[..., :3].float(), exposure), made_of(images)))
