"""Step rules, schedules and samplers."""

from __future__ import annotations

import re
from typing import Any

from ...nodes.rules import RULES as STEP_RULES
from ...samplers.schedules import distilled_sigmas
from ..graph import Node, Wire, upstream
from ..rewrite import Rewriter, keep, told
from ..schedules import SHIFT, named_sigmas_of
from ..table import Row
from .guiders import make_guider
from .latents import empty_latent, nearest
from .pictures import IMAGE

SAMPLER, NOISE, STAGE = "OpenLTXSampler", "OpenLTXNoise", "OpenLTXSampleStage"
TABLES = ("stage 1", "stage 2", "HDR refinement", "temporal rounds", "stage 2, several devices")
NUMBER = re.compile(r"[-+]?(?:\d*\.*\d+)(?:[eE][-+]?\d+)?")
APPENDING = ("LTXVAddGuide", "LTXVAddGuideAdvanced", "LTXVAddGuideMulti", "LTXAddVideoICLoRAGuide")
RANDOM = ("ancestral", "sde", "lcm", "seeds", "ddpm", "sa_solver")


def step_rule(rewriter: Rewriter, node: Node, row: Row) -> None:
    name = str(node.inputs.get("sampler_name", "euler"))
    made, lost = _rule(rewriter, node, name)
    rewriter.give(node, [[made, 0]])
    rewriter.made[node.id] = made
    rewriter.report.add("unmapped" if lost else "mapped", node.name, rewriter.name_of(SAMPLER), lost or "")


def _rule(rewriter: Rewriter, node: Node, name: str) -> tuple[str, str | None]:
    """The step rule of that name, or the nearest one and a word about it."""
    chosen, lost = name, None
    if name not in STEP_RULES:
        chosen = "euler_ancestral" if any(word in name for word in RANDOM) else "euler"
        lost = (
            f"the step rule {name} is not one of OpenLTX's; {chosen} stands there. In ComfyUI keep KSamplerSelect and "
            "SamplerCustomAdvanced behind the guider instead"
        )
    eta = 1.0 if "ancestral" in chosen else 0.5 if chosen == "res_2s" else 0.0
    inputs = {"rule": chosen, "eta": eta, "s_noise": 1.0, "gamma": 2.0, "sde_seed": -1}
    if eta:
        rewriter.report.differs(
            f"{chosen}: random numbers between the steps are drawn on the CPU, in ComfyUI on the device"
        )
    return rewriter.add(SAMPLER, inputs, node), lost


def manual_sigmas(rewriter: Rewriter, node: Node, row: Row) -> None:
    text = node.inputs.get("sigmas")
    values = [float(word) for word in NUMBER.findall(text)] if isinstance(text, str) else []
    made = _schedule(rewriter, node, values)
    rewriter.give(node, [[made, 0]])
    rewriter.made[node.id] = made
    told(rewriter, node, row, [rewriter.prompt[made]["class_type"]])


def _schedule(rewriter: Rewriter, node: Node, values: list[float]) -> str:
    """One of the published tables by its name, others by their values."""
    for table in TABLES:
        if values and distilled_sigmas(table).tolist() == distilled_sigmas("stage 1").new_tensor(values).tolist():
            return rewriter.add("OpenLTXDistilledSchedule", {"table": table}, node)
    inputs: dict[str, Any] = {"schedule": "manual", "steps": max(len(values) - 1, 1)}
    if len(values) < 2:
        rewriter.report.remark(f"{node.name}: no sigmas could be read; the published table stands there")
        return rewriter.add("OpenLTXDistilledSchedule", {"table": "stage 1"}, node)
    return rewriter.add(
        "OpenLTXNamedSchedule", inputs | {"values": ", ".join(f"{value:.7g}" for value in values)}, node
    )


def shifted_sigmas(rewriter: Rewriter, node: Node, row: Row) -> None:
    """By the tokens of a latent, or of 4096."""
    made = rewriter.add("OpenLTXSchedule", rewriter.options(node, row), node)
    rewriter.give(node, [[made, 0]])
    rewriter.made[node.id] = made
    if nearest(rewriter.source, node.inputs.get("latent"), *APPENDING):
        rewriter.report.differs(
            f"{node.name}: it counts appended pictures and clips among the tokens, OpenLTX does not"
        )
    told(rewriter, node, row, ["OpenLTXSchedule"])


def named_sigmas(rewriter: Rewriter, node: Node, row: Row) -> None:
    made, note = _named(rewriter, node)
    rewriter.give(node, [[made, 0]])
    rewriter.made[node.id] = made
    told(rewriter, node, row, [rewriter.prompt[made]["class_type"]], note)


def _named(rewriter: Rewriter, node: Node) -> tuple[str, str]:
    """A scheduler of ComfyUI by name: its values are written out."""
    name, steps = str(node.inputs.get("scheduler", "simple")), node.inputs.get("steps", 20)
    denoise = node.inputs.get("denoise", 1.0)
    if not isinstance(steps, int) or not isinstance(denoise, (int, float)):
        rewriter.report.remark(f"{node.name}: its steps come from another node; 20 steps of Schedule (LTX) stand there")
        return rewriter.add("OpenLTXSchedule", {"steps": rewriter.input(node, "steps") or 20}, node), "Schedule (LTX)"
    values = named_sigmas_of(name, steps, float(denoise), _shift(rewriter, node))
    first, last = node.inputs.get("start_at_step", 0), node.inputs.get("end_at_step", 10_000)
    if values is None:
        rewriter.report.differs(
            f"{node.name}: the scheduler {name} is not one of OpenLTX's; Schedule (LTX) stands there"
        )
        return rewriter.add("OpenLTXSchedule", {"steps": steps}, node), "Schedule (LTX)"
    if isinstance(first, int) and isinstance(last, int):
        values = values[first : last + 1]
    return _schedule(rewriter, node, values), f"{name}, {steps} steps, written out"


def _shift(rewriter: Rewriter, node: Node) -> float:
    for other in upstream(rewriter.source, node.id):
        if other.type == "ModelSamplingLTXV" and isinstance(other.inputs.get("max_shift", 2.05), (int, float)):
            return float(other.inputs.get("max_shift", 2.05))
    return SHIFT


def sampler(rewriter: Rewriter, node: Node, row: Row) -> None:
    """Nodes that hold guider, step rule and schedule at once."""
    given = rewriter.options(node, row)
    noise = rewriter.add(NOISE, {"noise_seed": given["seed"], "order": "as ComfyUI"}, node, "Noise")
    scale = {f"{stream}_cfg": "$cfg|8.0" for stream in ("video", "audio")}
    guider, kinds = make_guider(rewriter, node, Row(type=row.type, pack=row.pack, options=scale))
    rule, lost = given.get("sampler"), None
    if rule is None:
        made, lost = _rule(rewriter, node, str(node.inputs.get("sampler_name", "euler")))
        rule = [made, 0]
    sigmas = given.get("sigmas") or [_named(rewriter, node)[0], 0]
    latent = rewriter.input(node, "latent_image")
    links = {"noise": [noise, 0], "guider": [guider, 0], "sampler": rule, "sigmas": sigmas, "latent": latent}
    stage = rewriter.add(STAGE, links, node)
    rewriter.give(node, [[stage, 0]] * given["outputs"])
    rewriter.made[node.id] = stage
    if node.inputs.get("add_noise") in (False, "disable"):
        lost = "a stage without noise has no counterpart: sample both parts in one stage"
    own = [NOISE, *kinds, SAMPLER, "OpenLTXNamedSchedule", STAGE]
    into = " + ".join(rewriter.name_of(kind) for kind in own)
    rewriter.report.add("unmapped" if lost else "mapped", node.name, into, lost or "")


def base_sampler(rewriter: Rewriter, node: Node, row: Row) -> None:
    sizes = {
        new: rewriter.input(node, old)
        for new, old in (("width", "width"), ("height", "height"), ("frames", "num_frames"))
    }
    latent: list[Any] = [empty_latent(rewriter, node, "video only", **sizes), 0]
    images = rewriter.input(node, "optional_cond_images")
    if images is not None:
        strength = rewriter.filled(node, "$strength|0.9")
        inputs = {"latent": latent, "video_vae": rewriter.input(node, "vae"), "image": images, "strength": strength}
        latent = [rewriter.add(IMAGE, {**inputs, "crf": rewriter.filled(node, "$crf|35")}, node), 0]
    _stage(rewriter, node, row, STAGE, {**_pieces(rewriter, node), "latent": latent})


def looping_sampler(rewriter: Rewriter, node: Node, row: Row) -> None:
    names = {
        "tile": "$temporal_tile_size|80",
        "overlap": "$temporal_overlap|24",
        "overlap_strength": "$temporal_overlap_cond_strength|0.5",
        "guide_strength": "$guiding_strength|1.0",
        "statistics": "$adain_factor|0.0",
        "rows": "$vertical_tiles|1",
        "columns": "$horizontal_tiles|1",
        "space_overlap": "$spatial_overlap|3",
        "guide_first_step": "$guiding_start_step|0",
        "guide_last_step": "$guiding_end_step|0",
        "latent": "$latents",
        "guides": "$optional_guiding_latents",
        "context": "$optional_negative_index_latents",
        "reference": "$optional_normalizing_latents",
        "prompts": "$optional_positive_conditionings",
    }
    inputs = {name: rewriter.filled(node, value) for name, value in names.items()}
    if isinstance(inputs["guide_last_step"], int) and inputs["guide_last_step"] >= 1000:
        inputs["guide_last_step"] = 0
    note = None
    if rewriter.input(node, "optional_cond_images") is not None:
        note = "its pictures are not kept: add Condition: Image (LTX) to the latent, one a picture"
    _stage(rewriter, node, row, "OpenLTXSampleLooping", {**_pieces(rewriter, node), **inputs}, note)


def tiled_sampler(rewriter: Rewriter, node: Node, row: Row) -> None:
    names = {
        "rows": "$vertical_tiles|1",
        "columns": "$horizontal_tiles|1",
        "overlap": "$overlap|1",
        "latent": "$latents",
    }
    inputs = {name: rewriter.filled(node, value) for name, value in names.items()}
    rewriter.report.differs(f"{node.name}: each tile has a seed of its own here, in ComfyUI all have the same")
    _stage(rewriter, node, row, "OpenLTXSampleTiles", {**_pieces(rewriter, node), **inputs})


def _pieces(rewriter: Rewriter, node: Node) -> dict[str, Any]:
    return {name: rewriter.input(node, name) for name in ("noise", "guider", "sampler", "sigmas")}


def _stage(
    rewriter: Rewriter, node: Node, row: Row, kind: str, inputs: dict[str, Any], note: str | None = None
) -> None:
    made = rewriter.add(kind, inputs, node)
    rewriter.give(node, [[made, 0], [made, 0]])
    rewriter.made[node.id] = made
    told(rewriter, node, row, [kind], note)


def scaled_steps(rewriter: Rewriter, node: Node, row: Row) -> None:
    """On a sampler; the form that patches a model has no counterpart."""
    rule = rewriter.input(node, "sampler")
    if rule is None:
        rewriter.give(node, [rewriter.input(node, "model")])
        lost = "put Scale Steps (LTX) between the step rule and Sample Stage (LTX)"
        rewriter.report.add("unmapped", node.name, note=lost)
        return
    factors = rewriter.filled(node, "$audio_normalization_factors|1, 1, 0.25, 1, 1, 0.25, 1, 1")
    made = rewriter.add("OpenLTXScaleSteps", {"sampler": rule, "video_factors": "", "audio_factors": factors}, node)
    rewriter.give(node, [[made, 0]])
    told(rewriter, node, row, ["OpenLTXScaleSteps"])


def prompts(rewriter: Rewriter, node: Node, row: Row) -> None:
    """Prompts of a long clip: a bar between them there, a line of dashes here."""
    text = node.inputs.get("prompts")
    if isinstance(text, Wire):
        keep(rewriter, node, "its prompts come from another node: type them into Encode Prompts (LTX)", kind="unmapped")
        return
    parts = [part.strip() for part in str(text or "").split("|") if part.strip()]
    inputs = {"text_encoder": rewriter.input(node, "clip"), "texts": "\n---\n".join(parts)}
    made = rewriter.add("OpenLTXEncodePrompts", inputs, node)
    rewriter.give(node, [[made, 0]])
    rewriter.made[node.id] = made
    told(rewriter, node, row, ["OpenLTXEncodePrompts"])


RULES = {
    "step_rule": step_rule,
    "manual_sigmas": manual_sigmas,
    "shifted_sigmas": shifted_sigmas,
    "named_sigmas": named_sigmas,
    "sampler": sampler,
    "base_sampler": base_sampler,
    "looping_sampler": looping_sampler,
    "tiled_sampler": tiled_sampler,
    "scaled_steps": scaled_steps,
    "prompts": prompts,
}
