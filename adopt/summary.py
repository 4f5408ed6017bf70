"""What a finished workflow amounts to: its preset, and whether the built-in host can run it."""

from __future__ import annotations

from typing import Any

from ..nodes.host.standalone.schema import Registry
from ..samplers.recipe_presets import PRESETS, RECIPES, recipe_preset
from ..samplers.schedules import distilled_sigmas
from .rewrite import Prompt

STAGES = ("OpenLTXSampleStage", "OpenLTXSampleTiles", "OpenLTXSampleLooping")


def preset_of(prompt: Prompt) -> str:
    """The rules in force in a line: of each stage, and the recipe preset that they are, if one is."""
    stages = [entry["inputs"] for entry in prompt.values() if entry["class_type"] in STAGES]
    if not stages:
        return ""
    texts = [_stage_text(prompt, stage) for stage in stages]
    names = _matching([_steps_of(prompt, stage) for stage in stages])
    known = f" (as {names})" if names else ""
    return f"community{known}: {'; then '.join(texts)}; fractional masks by ComfyUI's rule"


def _stage_text(prompt: Prompt, stage: dict[str, Any]) -> str:
    rule, sigmas = _steps_of(prompt, stage)
    shown = "shifted schedule" if sigmas is None else f"{len(sigmas) - 1} steps from {sigmas[0]:g}"
    return f"{rule or 'a step rule of its own'}, {shown}"


def _steps_of(prompt: Prompt, stage: dict[str, Any]) -> tuple[str | None, tuple[float, ...] | None]:
    """The step rule's name and the sigmas, where they stand in the workflow."""
    rule, schedule = (_entry(prompt, stage.get(name)) for name in ("sampler", "sigmas"))
    return rule.get("inputs", {}).get("rule"), _values(schedule)


def _entry(prompt: Prompt, link: Any) -> dict[str, Any]:
    return prompt.get(link[0], {}) if isinstance(link, list) else {}


def _values(entry: dict[str, Any]) -> tuple[float, ...] | None:
    inputs = entry.get("inputs", {})
    if entry.get("class_type") == "OpenLTXDistilledSchedule":
        return tuple(distilled_sigmas(inputs["table"]).tolist())
    if entry.get("class_type") == "OpenLTXNamedSchedule" and inputs.get("schedule") == "manual":
        return tuple(float(word) for word in inputs["values"].split(","))
    return None


def _matching(stages: list[tuple[str | None, tuple[float, ...] | None]]) -> str:
    """Recipe presets whose stages step like these."""
    found = []
    for generation in ("2", "2.3", "2.5"):
        for name in RECIPES:
            for preset in PRESETS:
                rules = recipe_preset(name, preset, generation)
                wanted = [
                    (rules.first.rule, _sigmas(rules.first.sigmas)),
                    (rules.refine.rule, _sigmas(rules.refine.sigmas)),
                ]
                if len(stages) == 2 and all(map(_alike, stages, wanted)):
                    found.append(f"{preset} preset of {name!r}, LTX-{generation}")
    return found[0] if found else ""


def _sigmas(given: Any) -> tuple[float, ...] | None:
    return tuple(distilled_sigmas(given).tolist()) if isinstance(given, str) else given


def _alike(
    one: tuple[str | None, tuple[float, ...] | None], other: tuple[str | None, tuple[float, ...] | None]
) -> bool:
    if one[0] != other[0] or (one[1] is None) != (other[1] is None):
        return False
    pairs = zip(one[1] or (), other[1] or (), strict=False)
    return len(one[1] or ()) == len(other[1] or ()) and all(abs(first - second) < 1e-6 for first, second in pairs)


def standalone_reason(prompt: Prompt, registry: Registry) -> str:
    """The node types that only ComfyUI has; empty where there are none."""
    missing = sorted({entry["class_type"] for entry in prompt.values()} - set(registry))
    return ", ".join(missing)
