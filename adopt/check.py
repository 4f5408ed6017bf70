"""Both graphs, the old one and the adopted one, on the embedded model: what is run, and what is compared.

The old graph runs with ComfyUI's own nodes and samplers; its loaders and empty video latents are ours, because
ComfyUI's take the published widths only (128 channels). How the networks compare is pinned by golden vectors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..nodes.host.standalone.schema import Registry
from ..nodes.load import INSIDE
from . import Adopted, adopt
from .constants import folded
from .embedded import CHECKPOINT, embedded
from .graph import Found, Graph, Node, Wire, upstream
from .report import Report
from .rewrite import Prompt, Rewriter
from .rules.latents import SAMPLERS, frame_rate

LOADERS: dict[str, tuple[int, ...]] = {
    "CheckpointLoaderSimple": (0, 1, 2),
    "LTXAVTextEncoderLoader": (1,),
    "LTXVAudioVAELoader": (3,),
}
"""Outputs of our loader that stand for those of a core one."""
LOAD, EQUAL = "load", 1e-5


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A stage: its wires in the old and in the new workflow."""

    name: str
    old: tuple[str, int]
    new: tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class Check:
    """Two workflows in API format, and the stages to compare. nested: whether their latents have sound."""

    old: Prompt
    new: Adopted
    pairs: tuple[Pair, ...]
    nested: bool


def check_of(found: Found, registry: Registry, *, name: str) -> Check:
    """The small versions of a file's graph. ValueError where it has no stage that ComfyUI itself could run."""
    graph = embedded(folded(found.graph)[0])
    new = adopt(Found(graph=graph, form=found.form), registry, name=name)
    made = {old: number for number, old in new.origins.items()}
    stages = [node for node in new.source.values() if node.type in SAMPLERS and node.id in made]
    pairs = tuple(Pair(name=node.name, old=(node.id, 0), new=(made[node.id], 0)) for node in stages)
    if not pairs:
        raise ValueError("check: expected a stage made of ComfyUI's samplers, found none; there is nothing to compare")
    nested = any(node.type == "LTXVConcatAVLatent" for node in upstream(new.source, pairs[0].old[0]))
    return Check(old=core_prompt(new.source, [pair.old[0] for pair in pairs]), new=new, pairs=pairs, nested=nested)


def core_prompt(graph: Graph, stages: Sequence[str]) -> Prompt:
    """What leads to some nodes, for ComfyUI itself."""
    needed = {node_id for stage in stages for node_id in [stage, *(node.id for node in upstream(graph, stage))]}
    rate = frame_rate(Rewriter(source=graph, registry={}, report=Report()))
    load = {"checkpoint": CHECKPOINT, "text_encoder": INSIDE, "dtype": "float32"}
    prompt: Prompt = {LOAD: {"class_type": "OpenLTXLoadModel", "inputs": load, "_meta": {"title": "Model"}}}
    for node_id in needed:
        if graph[node_id].type not in LOADERS:
            prompt[node_id] = _entry(graph, graph[node_id], rate)
    return prompt


def _entry(graph: Graph, node: Node, rate: Any) -> dict[str, Any]:
    kind = node.type
    inputs = {name: _link(graph, value) if isinstance(value, Wire) else value for name, value in node.inputs.items()}
    if kind == "LatentUpscaleModelLoader":
        kind, inputs = "OpenLTXLoadUpscaler", {"upscaler": inputs["model_name"], "dtype": "float32"}
    if kind == "EmptyLTXVLatentVideo":
        kind = "OpenLTXEmptyAVLatent"
        names = {"width": "width", "height": "height", "frames": "length"}
        sizes = {new: inputs[old] for new, old in names.items()}
        shown = _link(graph, rate) if isinstance(rate, Wire) else float(rate)
        inputs = {**sizes, "model": [LOAD, 0], "frame_rate": shown, "streams": "video only"}
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": node.title or node.type}}


def _link(graph: Graph, wire: Wire) -> list[Any]:
    kind = graph[wire.node].type
    return [LOAD, LOADERS[kind][wire.slot]] if kind in LOADERS else [wire.node, wire.slot]


def difference(old: Sequence[Tensor], new: Sequence[Tensor]) -> float:
    """The largest difference of the latents of a stage; frames that ComfyUI has appended do not count.

    Infinite where shapes do not fit.
    """
    if len(old) != len(new):
        return float("inf")
    worst = 0.0
    for one, other in zip(old, new, strict=True):
        if one.ndim == 5:
            one = one[:, :, : other.shape[2]]
        if one.shape != other.shape:
            return float("inf")
        worst = max(worst, float((one.float() - other.float()).abs().max()))
    return worst


def lines(differences: Mapping[str, float | str], adopted: Adopted) -> list[str]:
    """What was measured, and where the report names why."""
    found = [f"  {name}: {_shown(value)}" for name, value in differences.items()]
    if any(not isinstance(value, str) and value > EQUAL for value in differences.values()):
        lost = [f"{entry.node}: {entry.note}" for entry in adopted.report.entries if entry.kind == "unmapped"]
        named = adopted.report.differences + lost or ["no difference is known for this file: please report it"]
        found += [f"  named: {text}" for text in named]
    return found


def _shown(value: float | str) -> str:
    if isinstance(value, str):
        return value
    if value == float("inf"):
        return "not comparable, the latents have other shapes"
    return f"{value:.2g}" + ("" if value <= EQUAL else " (differs)")
