"""GUIDER on the wires: a model under its texts, and how each stream is guided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from ..model_loaders.parts import DiffusionModel
from ..samplers.guidance import (
    HQ_GUIDANCE,
    Apg,
    Blocks,
    Cfg,
    CfgStar,
    Guidance,
    GuidanceAt,
    MomentumApg,
    TextRule,
    default_guidance,
)
from ..samplers.streams import Streams
from ..samplers.tiling import TilePlan
from .contexts import Conditioning
from .host.api import io

TEXT_RULES: dict[str, TextRule] = {
    "cfg": Cfg(),
    "cfg_star": CfgStar(),
    "apg": Apg(),
    "apg_momentum": MomentumApg(momentum=-0.75),
}
GuidanceType = io.Custom("OPENLTX_GUIDANCE")
NO_GUIDANCE = Streams(video=Guidance(), audio=Guidance())
PUBLISHED_LAYERS = 48  # of every generation; the official STG blocks count in these
PRESETS = ["official", "official, sound given", "official, picture given", "official HQ", "none"]


@dataclass(frozen=True, kw_only=True)
class Guider:
    """What a stage asks of the network.

    tiles: how each of its calls is cut, by default not at all. mask_rule: how a mask between 0 and 1 is read, see
    nodes/stage.py.
    """

    model: DiffusionModel = field(repr=False)
    positive: Conditioning = field(repr=False)
    negative: Conditioning | None = field(default=None, repr=False)
    guidance: Streams[GuidanceAt]
    tiles: TilePlan = TilePlan()
    mask_rule: Literal["official", "community"] = "official"


class StreamGuidance(io.ComfyNode):
    """Guidance of one stream, all parameters."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXStreamGuidance",
            display_name="Stream Guidance (LTX)",
            category="OpenLTX/sampling",
            description="How picture or sound is guided. A term at its neutral value costs no extra pass.",
            inputs=[
                io.Float.Input("cfg", default=3.0, min=0.0, max=50.0, step=0.1, tooltip="Text guidance; 1: none."),
                io.Float.Input(
                    "stg", default=1.0, min=0.0, max=20.0, step=0.1, tooltip="Skip-block (STG) guidance; 0: none."
                ),
                io.String.Input(
                    "stg_blocks", default="28", tooltip="Blocks of STG with commas; 'all'; LTX-2: 29, later: 28."
                ),
                io.Float.Input(
                    "modality", default=3.0, min=0.0, max=20.0, step=0.1, tooltip="Pull to the other stream; 1: none."
                ),
                io.Float.Input(
                    "rescale", default=0.7, min=0.0, max=1.0, step=0.01, tooltip="Against over-saturation; 0: off."
                ),
                io.Int.Input("skip", default=0, min=0, max=10, tooltip="Of skip + 1 steps, skip are not computed."),
                io.Combo.Input("text_rule", options=list(TEXT_RULES), default="cfg", tooltip="How cfg is applied."),
            ],
            outputs=[GuidanceType.Output("guidance", tooltip="For Guider (LTX).")],
        )

    @classmethod
    def execute(
        cls, cfg: float, stg: float, stg_blocks: str, modality: float, rescale: float, skip: int, text_rule: str
    ) -> io.NodeOutput:
        guidance = Guidance(
            cfg=cfg,
            stg=stg,
            stg_blocks=blocks_of(stg_blocks),
            modality=modality,
            rescale=rescale,
            skip=skip,
            text_rule=TEXT_RULES[text_rule],
        )
        return io.NodeOutput(guidance)


class MultimodalGuider(io.ComfyNode):
    """A guider from the guidance of both streams."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXGuider",
            display_name="Guider (LTX)",
            category="OpenLTX/sampling",
            description="Guidance for picture and sound, each its own; none where nothing is connected.",
            inputs=[
                io.Model.Input("model", tooltip="From a loader."),
                io.Conditioning.Input("positive", tooltip="What to show and to sound."),
                io.Conditioning.Input("negative", optional=True, tooltip="What to stay away from."),
                GuidanceType.Input("video", optional=True, tooltip="Guidance of the picture."),
                GuidanceType.Input("audio", optional=True, tooltip="Guidance of the sound."),
            ],
            outputs=[io.Guider.Output("guider", tooltip="For Sample Stage (LTX), or ComfyUI's SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(
        cls,
        model: DiffusionModel,
        positive: Conditioning,
        negative: Conditioning | None = None,
        video: Guidance | None = None,
        audio: Guidance | None = None,
    ) -> io.NodeOutput:
        guidance: Streams[GuidanceAt] = Streams(video=video or Guidance(), audio=audio or Guidance())
        return io.NodeOutput(Guider(model=model, positive=positive, negative=negative, guidance=guidance))


class PresetGuider(io.ComfyNode):
    """The official guidance of the model's generation."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXPresetGuider",
            display_name="Preset Guider (LTX)",
            category="OpenLTX/sampling",
            description="Official guidance: full models, the HQ recipe, or none (distilled models, refinements).",
            inputs=[
                io.Model.Input("model", tooltip="From a loader."),
                io.Conditioning.Input("positive", tooltip="What to show and to sound."),
                io.Conditioning.Input(
                    "negative", optional=True, tooltip="What to stay away from; with none only CFG++ rules read it."
                ),
                io.Combo.Input(
                    "preset",
                    options=PRESETS,
                    default="official",
                    tooltip="official: of the model's generation; sound or picture given: only the other one is "
                    "guided; official HQ: for res_2s; none: one pass a step (distilled models, refinements).",
                ),
            ],
            outputs=[io.Guider.Output("guider", tooltip="For Sample Stage (LTX), or ComfyUI's SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(
        cls, model: DiffusionModel, positive: Conditioning, preset: str, negative: Conditioning | None = None
    ) -> io.NodeOutput:
        guidance = _as_base(preset_guidance(preset, model))
        return io.NodeOutput(Guider(model=model, positive=positive, negative=negative, guidance=guidance))


def preset_guidance(preset: str, model: DiffusionModel) -> Streams[Guidance]:
    """One of PRESETS for this model (spec sampling.md 7.7, pipelines.md 8).

    STG blocks are those of the published model. A model with fewer layers has them at the same share of its depth.
    """
    if preset in ("official HQ", "none"):
        return HQ_GUIDANCE if preset == "official HQ" else NO_GUIDANCE

    def placed(guidance: Guidance) -> Guidance:
        assert guidance.stg_blocks != "all"
        layers = model.config.num_layers
        return replace(
            guidance, stg_blocks=frozenset(block * layers // PUBLISHED_LAYERS for block in guidance.stg_blocks)
        )

    official = default_guidance(model.generation or "2.3").map(placed)
    given = {"official, sound given": "audio", "official, picture given": "video"}.get(preset)
    return replace(official, **{given: Guidance()}) if given else official


def _as_base(guidance: Streams[Guidance]) -> Streams[GuidanceAt]:
    return Streams(video=guidance.video, audio=guidance.audio)


def blocks_of(text: str) -> Blocks:
    """'28, 29' → {28, 29}; 'all'; empty: none. ValueError for something else."""
    if text.strip().lower() == "all":
        return "all"
    words: Sequence[str] = text.replace(",", " ").split()
    if not all(word.isdecimal() for word in words):
        raise ValueError(f"stg_blocks: expected block numbers with commas between them or 'all', found {text!r}")
    return frozenset(int(word) for word in words)
