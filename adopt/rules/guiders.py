"""Guiders: scales of text, blocks and modality, from guider nodes and from patches on the model."""

from __future__ import annotations

from typing import Any

from ..graph import Node, Wire
from ..rewrite import Bundle, Rewriter, told
from ..table import Row, rows

STREAM, GUIDER, PRESET, MASK = (
    "OpenLTXStreamGuidance", "OpenLTXGuider", "OpenLTXPresetGuider", "OpenLTXMaskRule",
)  # fmt: skip
NEUTRAL = {"stg": 0.0, "stg_blocks": "28", "modality": 1.0, "rescale": 0.0, "skip": 0, "text_rule": "cfg"}
NAG = ("nag", "nag_scale", "nag_share", "nag_limit")
STEADY = ("steady", "reference", "mean", "std", "percentile")


def guider(rewriter: Rewriter, node: Node, row: Row) -> None:
    made, kinds = make_guider(rewriter, node, row)
    rewriter.give(node, [[made, 0]])
    rewriter.made[node.id] = made
    told(rewriter, node, row, kinds)


def make_guider(rewriter: Rewriter, node: Node, row: Row) -> tuple[str, list[str]]:
    """The last node of the guider, and the kinds that it is made of. Reads model, positive, negative and options."""
    given = rewriter.options(node, row)
    asked = patches(rewriter, node)
    extra = {name: value for name, value in given.items() if name in NEUTRAL or name.startswith("apg_")}
    terms = {**NEUTRAL, **{name: value for name, value in asked.items() if name in NEUTRAL}, **extra}
    scales = {stream: given.get(f"{stream}_cfg", 1.0) for stream in ("video", "audio")}
    texts = {
        "model": rewriter.input(node, "model"),
        "positive": given.get("positive") or rewriter.input(node, "positive"),
        "negative": rewriter.input(node, "negative"),
    }
    if set(scales.values()) == {1.0} and all(terms[name] == value for name, value in NEUTRAL.items()):
        made, kinds = rewriter.add(PRESET, {**texts, "preset": "none"}, node), [PRESET]
    else:
        streams = _streams(rewriter, node, terms, scales)
        made, kinds = rewriter.add(GUIDER, {**texts, **streams}, node), [STREAM, GUIDER]
    return _finished(rewriter, node, made, kinds, asked)


def _streams(rewriter: Rewriter, node: Node, terms: dict[str, Any], scales: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for stream, cfg in scales.items():
        if found and scales["video"] == cfg:
            found[stream] = found["video"]
        else:
            found[stream] = [rewriter.add(STREAM, {"cfg": cfg, **terms}, node, f"Guidance, {stream}"), 0]
    return found


def _finished(
    rewriter: Rewriter, node: Node, made: str, kinds: list[str], asked: dict[str, Any]
) -> tuple[str, list[str]]:
    """With the negative prompt of attention, and ComfyUI's rule for masks."""
    if asked.get("nag") is not None:
        scale = asked["nag_scale"]
        inputs = {
            "guider": [made, 0],
            "negative": asked["nag"],
            "video_scale": scale,
            "audio_scale": scale,
            "limit": asked["nag_limit"],
            "share": asked["nag_share"],
        }
        made, kinds = rewriter.add("OpenLTXNegativePrompt", inputs, node), [*kinds, "OpenLTXNegativePrompt"]
    made = rewriter.add(MASK, {"guider": [made, 0], "rule": "community"}, node, "Mask Rule")
    if asked.get("steady"):
        rewriter.common.setdefault("steady", {})[made] = {name: asked.get(name) for name in STEADY}
    return made, [*kinds, MASK]


def patches(rewriter: Rewriter, node: Node) -> dict[str, Any]:
    """What nodes on the way of the model ask of guidance; the nearest one has the last word."""
    found: dict[str, Any] = {}
    place = node.inputs.get("model")
    seen: set[str] = set()
    while isinstance(place, Wire) and place.node in rewriter.source and place.node not in seen:
        seen.add(place.node)
        other = rewriter.source[place.node]
        row = rows().get(other.type)
        if row is not None:
            found = {name: rewriter.filled(other, value) for name, value in row.guidance.items()} | found
        place = other.inputs.get("model")
    return found


def guider_parameters(rewriter: Rewriter, node: Node, row: Row) -> None:
    """One stream's guidance of MultimodalGuider."""
    stream = str(node.inputs.get("modality", "VIDEO")).lower()
    names = {
        "cfg": "$cfg|3.0",
        "stg": "$stg|1.0",
        "rescale": "$rescale|0.7",
        "modality": "$modality_scale|3.0",
        "skip": "$skip_step|0",
    }
    inputs = {**NEUTRAL, **{name: rewriter.filled(node, value) for name, value in names.items()}}
    made = rewriter.add(STREAM, inputs, node, f"Guidance, {stream}")
    before = rewriter.input(node, "parameters")
    rewriter.give(node, [Bundle({**(before if isinstance(before, Bundle) else {}), stream: made})])
    rewriter.made[node.id] = made
    if inputs["skip"]:
        rewriter.report.differs(
            f"{node.name}: a skipped stream reuses its last prediction; ComfyUI's node also feeds it in"
        )
    told(rewriter, node, row, [STREAM])


def multimodal_guider(rewriter: Rewriter, node: Node, row: Row) -> None:
    streams = rewriter.input(node, "parameters")
    streams = streams if isinstance(streams, Bundle) else Bundle()
    for made in streams.values():
        rewriter.prompt[made]["inputs"]["stg_blocks"] = str(rewriter.filled(node, "$skip_blocks|28"))
    links = {stream: [made, 0] for stream, made in streams.items() if stream in ("video", "audio")}
    texts = {name: rewriter.input(node, name) for name in ("model", "positive", "negative")}
    made, kinds = _finished(
        rewriter, node, rewriter.add(GUIDER, {**texts, **links}, node), [GUIDER], patches(rewriter, node)
    )
    rewriter.give(node, [[made, 0]])
    rewriter.made[node.id] = made
    rewriter.report.differs(
        f"{node.name}: with stg 0 a stream is not perturbed; ComfyUI's node perturbs it if its switch is on"
    )
    told(rewriter, node, row, kinds)


RULES = {"guider": guider, "guider_parameters": guider_parameters, "multimodal_guider": multimodal_guider}
