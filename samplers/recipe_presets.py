"""What a recipe samples with, by preset: `official` as published with the models, `community` as shared workflows do.

A table of names and numbers; nodes make samplers and guiders of it. Source: spec pipelines.md sections 2 to 12 for
`official`, 15 and 19 for `community`. Where no shared workflow exists, `community` is the official preset and says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .guidance import STEPS

PRESETS = ("official", "community")


@dataclass(frozen=True, kw_only=True)
class StageRule:
    """How one stage steps.

    sigmas: name of a distilled table, values, or None: the token-shifted schedule of `steps` steps.
    image_strength: of the picture on the first frame.
    """

    rule: str = "euler"
    eta: float = 0.0
    sigmas: str | tuple[float, ...] | None = "stage 1"
    steps: int = 0
    image_strength: float = 1.0

    def text(self) -> str:
        """`euler_ancestral (eta 1), table 'stage 1'`."""
        rule = f"{self.rule} (eta {self.eta:g})" if self.eta else self.rule
        if self.sigmas is None:
            return f"{rule}, shifted schedule of {self.steps} steps"
        if isinstance(self.sigmas, str):
            return f"{rule}, table {self.sigmas!r}"
        return f"{rule}, sigmas {', '.join(f'{value:g}' for value in self.sigmas)}"


@dataclass(frozen=True, kw_only=True)
class RecipePreset:
    """What a recipe samples with.

    guidance: a preset name of the guider, or a CFG scale of both streams; of the first stage, the refinement has none.
    mask_rule: how strengths between 0 and 1 are read. model: which files and LoRA strengths it was made for.
    """

    first: StageRule
    refine: StageRule = StageRule(sigmas="stage 2")
    guidance: str | float = "none"
    mask_rule: str = "official"
    model: str = "distilled model"

    def text(self) -> str:
        """All rules in force, in one line."""
        guided = f"CFG {self.guidance:g}" if isinstance(self.guidance, float) else f"guidance {self.guidance!r}"
        images = f"picture strength {self.first.image_strength:g}, then {self.refine.image_strength:g}"
        return (
            f"first stage {self.first.text()}, {guided}; refinement {self.refine.text()}, no guidance; {images}; "
            f"fractional masks by the {self.mask_rule} rule; made for: {self.model}"
        )


_DISTILLED = RecipePreset(first=StageRule())
_IC_LORA = replace(_DISTILLED, model="distilled model, IC-LoRA 1 in the first stage")
_FULL = RecipePreset(
    first=StageRule(sigmas=None), guidance="official", model="full model, distilled LoRA 1 in the refinement"
)
_ANCESTRAL = StageRule(rule="euler_ancestral_cfg_pp", eta=1.0)
_OFFICIAL = {
    "one stage": replace(_FULL, model="full model"),
    "two stages": _FULL,
    "distilled": _DISTILLED,
    "IC-LoRA": _IC_LORA,
    "inpainting": _IC_LORA,
    "pixel upscaler": _IC_LORA,
    "detailer": replace(_IC_LORA, first=StageRule(sigmas="stage 2")),
    "HDR": replace(_IC_LORA, refine=StageRule(sigmas="HDR refinement"), model="distilled model, HDR LoRA 1 throughout"),
    "dubbing": replace(_IC_LORA, model="distilled model, dubbing LoRA 1 throughout"),
    "text to audio": replace(_FULL, model="full model"),
}
_HALF = "full model, distilled LoRA 0.5"
_COMMUNITY_2_3 = {
    "one stage": RecipePreset(
        first=replace(_ANCESTRAL, image_strength=0.7), guidance=1.0, mask_rule="community", model=_HALF
    ),
    "two stages": RecipePreset(
        first=replace(_ANCESTRAL, image_strength=0.7),
        refine=StageRule(rule="euler_cfg_pp", sigmas=(0.85, 0.725, 0.4219, 0.0)),
        guidance=1.0,
        mask_rule="community",
        model=_HALF,
    ),
    "IC-LoRA": RecipePreset(
        first=_ANCESTRAL, guidance=1.0, mask_rule="community", model=f"{_HALF}, IC-LoRA 1; workflows end here"
    ),
    "inpainting": RecipePreset(
        first=replace(_ANCESTRAL, image_strength=0.7),
        refine=StageRule(rule="euler_cfg_pp", sigmas=(0.725, 0.4219, 0.0)),
        guidance=1.0,
        mask_rule="community",
        model=f"{_HALF}, IC-LoRA 1",
    ),
    "pixel upscaler": RecipePreset(
        first=StageRule(rule="euler_cfg_pp"), guidance=1.0, mask_rule="community", model=f"{_HALF}, IC-LoRA 1"
    ),
    "HDR": RecipePreset(
        first=StageRule(rule="euler_ancestral", eta=1.0),
        refine=StageRule(sigmas="HDR refinement"),
        mask_rule="community",
        model=f"{_HALF}, HDR LoRA 1; workflows end after the first stage",
    ),
    "dubbing": RecipePreset(first=StageRule(), mask_rule="community", model=f"{_HALF}, dubbing LoRA 1"),
    "text to audio": RecipePreset(first=_ANCESTRAL, guidance=1.0, mask_rule="community", model=_HALF),
}
_FULL_2 = RecipePreset(
    first=StageRule(rule="res_2s", eta=0.5, sigmas=None, steps=20),
    refine=StageRule(rule="res_2s", eta=0.5, sigmas="stage 2"),
    guidance=4.0,
    mask_rule="community",
    model="full model, distilled LoRA 0.6 in the refinement",
)
_COMMUNITY_2 = {
    "one stage": _FULL_2,
    "two stages": _FULL_2,
    "distilled": replace(_DISTILLED, mask_rule="community"),
    "IC-LoRA": replace(_IC_LORA, mask_rule="community"),
    "detailer": replace(_OFFICIAL["detailer"], mask_rule="community", model="distilled model, detailer LoRA 1"),
}
_COMMUNITY = {"2": _COMMUNITY_2, "2.3": _COMMUNITY_2_3}
RECIPES = tuple(_OFFICIAL)


def recipe_preset(recipe: str, preset: str, generation: str) -> RecipePreset:
    """The preset of one of RECIPES for generation "2", "2.3" or "2.5"; ValueError for another name."""
    if recipe not in _OFFICIAL or preset not in PRESETS or generation not in STEPS:
        raise ValueError(
            f"recipe: expected one of {', '.join(RECIPES)}, preset {' or '.join(PRESETS)}, generation "
            f"{', '.join(STEPS)}, found {recipe!r}, {preset!r}, {generation!r}"
        )
    shared = _COMMUNITY.get(generation, {}).get(recipe)
    if preset == "community" and shared is not None:
        return shared
    found = _official(recipe, generation)
    return found if preset == "official" else replace(found, model=f"{found.model}; no shared workflow exists")


def _official(recipe: str, generation: str) -> RecipePreset:
    found = _OFFICIAL[recipe]
    if found.first.sigmas is None:
        return replace(found, first=replace(found.first, steps=STEPS[generation]))
    if recipe == "distilled" and generation == "2.5":
        return replace(found, first=replace(found.first, rule="euler_ancestral", eta=1.0))
    return found
