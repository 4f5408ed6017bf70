"""A recipe's preset → the guiders, step rules and schedules of its stages."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any, Literal, cast

from torch import Tensor

from ..model_loaders.parts import DiffusionModel
from ..samplers.guidance import Guidance
from ..samplers.recipe_presets import PRESETS, RECIPES, StageRule, recipe_preset
from ..samplers.schedules import distilled_sigmas, ltx2_sigmas, manual_sigmas
from ..samplers.streams import Streams
from .contexts import Conditioning
from .guide import Guider, PresetGuider
from .host.api import io, ui, warn_user
from .rules import NamedRule


class Recipe(io.ComfyNode):
    """One switch for everything in which official recipes and shared workflows differ."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXRecipe",
            display_name="Recipe Preset (LTX)",
            category="OpenLTX/sampling",
            description="Guider, step rule and sigmas of a recipe's stages, as published (official) or as ComfyUI's "
            "community shares it. It shows the rules in force. Replace any output by nodes of your own.",
            inputs=[
                io.Model.Input("model", tooltip="Of the first stage, with its LoRAs."),
                io.Conditioning.Input("positive", tooltip="What to show and to sound."),
                io.Combo.Input("recipe", options=list(RECIPES), default="IC-LoRA", tooltip="What is being made."),
                io.Combo.Input(
                    "preset",
                    options=list(PRESETS),
                    default="official",
                    tooltip="official: as published with the model's generation. community: as in shared workflows: "
                    "CFG++ and ancestral rules, the distilled LoRA at half strength, fractional masks by ComfyUI's "
                    "rule.",
                ),
                io.Int.Input(
                    "steps",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip="Steps of the first stage where it has a shifted schedule; 0: the preset's.",
                ),
                io.Conditioning.Input(
                    "negative", optional=True, tooltip="What to stay away from; read by guidance and by CFG++ rules."
                ),
                io.Model.Input(
                    "refine_model", optional=True, tooltip="Of the refinement; without it that of the first stage."
                ),
            ],
            outputs=[
                io.Guider.Output("guider", tooltip="Of the first stage."),
                io.Sampler.Output("sampler", tooltip="Step rule of the first stage."),
                io.Sigmas.Output("sigmas", tooltip="Of the first stage."),
                io.Float.Output("image_strength", tooltip="Strength of a first picture in the first stage, 0 to 1."),
                io.Guider.Output("refine_guider", tooltip="Of the refinement."),
                io.Sampler.Output("refine_sampler", tooltip="Step rule of the refinement."),
                io.Sigmas.Output("refine_sigmas", tooltip="Of the refinement."),
                io.Float.Output("refine_image_strength", tooltip="Strength of a first picture in it, 0 to 1."),
                io.String.Output("rules", tooltip="The rules in force, in words."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: DiffusionModel,
        positive: Conditioning,
        recipe: str,
        preset: str,
        steps: int,
        negative: Conditioning | None = None,
        refine_model: DiffusionModel | None = None,
    ) -> io.NodeOutput:
        found = recipe_preset(recipe, preset, model.generation or "2.3")
        found = replace(found, first=_with_steps(found.first, steps))
        rule = cast(Literal["official", "community"], found.mask_rule)
        named = "none" if isinstance(found.guidance, float) else found.guidance
        guider: Guider = PresetGuider.execute(model, positive, named, negative).args[0]
        if isinstance(found.guidance, float):
            guider = replace(guider, guidance=_text_guidance(found.guidance))
        refine: Guider = PresetGuider.execute(refine_model or model, positive, "none", negative).args[0]
        text = f"{recipe}, {preset}: {found.text()}"
        first = (replace(guider, mask_rule=rule), _sampler(found.first), _sigmas(found.first, model))
        second = (replace(refine, mask_rule=rule), _sampler(found.refine), _sigmas(found.refine, refine_model or model))
        strengths = found.first.image_strength, found.refine.image_strength
        return io.NodeOutput(*first, strengths[0], *second, strengths[1], text, ui=ui.PreviewText(text))


def _with_steps(rule: StageRule, steps: int) -> StageRule:
    if not steps:
        return rule
    if rule.sigmas is not None:
        warn_user(f"steps {steps}: the preset steps along a fixed table; choose another preset or schedule to set them")
        return rule
    return replace(rule, steps=steps)


def _text_guidance(cfg: float) -> Streams[Any]:
    return Streams(video=Guidance(cfg=cfg), audio=Guidance(cfg=cfg))


def _sampler(rule: StageRule) -> NamedRule:
    return NamedRule(name=rule.rule, eta=rule.eta)


def _sigmas(rule: StageRule, model: DiffusionModel) -> Tensor:
    if rule.sigmas is None:
        return ltx2_sigmas(rule.steps, **({} if model.shift is None else asdict(model.shift)))
    return distilled_sigmas(rule.sigmas) if isinstance(rule.sigmas, str) else manual_sigmas(rule.sigmas)
