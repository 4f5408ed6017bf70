"""GUIDER on the wires: a model under its texts, and how each stream is guided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from ..extensions import added
from ..model_loaders.parts import DiffusionModel
from ..samplers.community import ChannelApg
from ..samplers.guidance import (
    HQ_GUIDANCE,
    Apg,
    Blocks,
    Cfg,
    CfgStar,
    Guidance,
    GuidanceAt,
    GuidanceBySigma,
    MomentumApg,
    Nag,
    TextRule,
    default_guidance,
)
from ..samplers.streams import Streams
from ..samplers.tiling import TilePlan
from .contexts import Conditioning, refuse_other_text
from .host.api import io
from .preview import Preview

TEXT_RULES = ["cfg", "cfg_star", "apg", "apg_momentum", "apg_channel"]
APG_THRESHOLDS = {"apg": 0.0, "apg_momentum": 5.0, "apg_channel": 0.0}  # where none is given
GuidanceType = io.Custom("OPENLTX_GUIDANCE")
NO_GUIDANCE = Streams(video=Guidance(), audio=Guidance())
PUBLISHED_LAYERS = 48  # of every generation; the official STG blocks count in these
PRESETS = ["official", "official, sound given", "official, picture given", "official HQ", "none"]


@dataclass(frozen=True, kw_only=True)
class Guider:
    """What a stage asks of the network.

    tiles: how each of its calls is cut, by default not at all. mask_rule: how a mask between 0 and 1 is read, see
    nodes/stage.py. nag: how far the attention to the text is moved away from the negative text, in each pass under the
    positive one. preview: what is shown of each step.
    """

    model: DiffusionModel = field(repr=False)
    positive: Conditioning = field(repr=False)
    negative: Conditioning | None = field(default=None, repr=False)
    guidance: Streams[GuidanceAt]
    tiles: TilePlan = TilePlan()
    mask_rule: Literal["official", "community"] = "official"
    nag: Streams[Nag] = Streams()
    preview: Preview | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        refuse_other_text(self.positive, self.model, "positive")
        refuse_other_text(self.negative, self.model, "negative")


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
                io.Combo.Input(
                    "text_rule",
                    options=[*TEXT_RULES, *added("text_rules", beside=TEXT_RULES)],
                    default="cfg",
                    tooltip="How cfg is applied. apg: projected, against burnt colours; with momentum over the steps; "
                    "by channel, as ComfyUI's node pack does.",
                ),
                io.Float.Input(
                    "apg_eta",
                    default=1.0,
                    min=-10.0,
                    max=10.0,
                    step=0.01,
                    optional=True,
                    tooltip="apg: weight of what points along the prediction; 1: all of it, as cfg.",
                ),
                io.Float.Input(
                    "apg_threshold",
                    default=-1.0,
                    min=-1.0,
                    max=1000.0,
                    step=0.1,
                    optional=True,
                    tooltip="apg: greatest length of a step; 0: no limit; -1: the rule's own, 5 with momentum, else 0.",
                ),
                io.Float.Input(
                    "apg_momentum",
                    default=-0.75,
                    min=-5.0,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    tooltip="apg_momentum: weight of the former steps; 0: none.",
                ),
            ],
            outputs=[GuidanceType.Output("guidance", tooltip="For Guider (LTX).")],
        )

    @classmethod
    def execute(
        cls,
        cfg: float,
        stg: float,
        stg_blocks: str,
        modality: float,
        rescale: float,
        skip: int,
        text_rule: str,
        apg_eta: float = 1.0,
        apg_threshold: float = -1.0,
        apg_momentum: float = -0.75,
    ) -> io.NodeOutput:
        guidance = Guidance(
            cfg=cfg,
            stg=stg,
            stg_blocks=blocks_of(stg_blocks),
            modality=modality,
            rescale=rescale,
            skip=skip,
            text_rule=text_rule_of(text_rule, apg_eta, apg_threshold, apg_momentum),
        )
        return io.NodeOutput(guidance)


class GuidanceRange(io.ComfyNode):
    """Two guidances, each for its part of the noise levels."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXGuidanceRange",
            display_name="Guidance by Sigma (LTX)",
            category="OpenLTX/sampling",
            description="One guidance for high noise, another one from a sigma on down. Chain it for more ranges.",
            inputs=[
                io.Float.Input(
                    "sigma", default=0.7, min=0.0, max=1.0, step=0.001, tooltip="From here down the second one counts."
                ),
                GuidanceType.Input("high", optional=True, tooltip="Above that sigma; none: no guidance there."),
                GuidanceType.Input("low", optional=True, tooltip="At that sigma and below; none: no guidance there."),
            ],
            outputs=[GuidanceType.Output("guidance", tooltip="For Guider (LTX).")],
        )

    @classmethod
    def execute(cls, sigma: float, high: GuidanceAt | None = None, low: GuidanceAt | None = None) -> io.NodeOutput:
        return io.NodeOutput(GuidanceBySigma.split(sigma, high=high or Guidance(), low=low or Guidance()))


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
        video: GuidanceAt | None = None,
        audio: GuidanceAt | None = None,
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


def text_rule_of(name: str, eta: float, threshold: float, momentum: float) -> TextRule:
    """One of TEXT_RULES, or an added one; a threshold below 0 is the rule's own."""
    if name not in TEXT_RULES:
        rule: TextRule = added("text_rules", beside=TEXT_RULES)[name]
        return rule
    if name in ("cfg", "cfg_star"):
        return Cfg() if name == "cfg" else CfgStar()
    threshold = APG_THRESHOLDS[name] if threshold < 0 else threshold
    if name == "apg_momentum":
        return MomentumApg(eta=eta, threshold=threshold, momentum=momentum)
    return Apg(eta=eta, threshold=threshold) if name == "apg" else ChannelApg(eta=eta, threshold=threshold)


def blocks_of(text: str) -> Blocks:
    """'28, 29' → {28, 29}; 'all'; empty: none. ValueError for something else."""
    if text.strip().lower() == "all":
        return "all"
    words: Sequence[str] = text.replace(",", " ").split()
    if not all(word.isdecimal() for word in words):
        raise ValueError(f"stg_blocks: expected block numbers with commas between them or 'all', found {text!r}")
    return frozenset(int(word) for word in words)
