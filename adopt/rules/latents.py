"""Latents: empty ones, pairs of picture and sound, masks and voices."""

from __future__ import annotations

from typing import Any

from ...samplers.shapes import SCALE, snap_frames, snap_size
from ..graph import Graph, Node, Wire, upstream
from ..rewrite import Later, Rewriter, keep, told
from ..table import Row
from .loaders import source_of

EMPTY, JOIN = "OpenLTXEmptyAVLatent", "OpenLTXJoinAV"
SOUND = ("LTXVEmptyLatentAudio", "LTXVAudioVAEEncode")
CONDITIONED = ("positive", "negative", "conditioning", "guider", "cond1", "model")
SAMPLERS = (
    "SamplerCustomAdvanced", "SamplerCustom", "KSampler", "KSamplerAdvanced", "LTXVNormalizingSampler",
    "LTXVLoopingSampler", "LTXVTiledSampler", "LTXVBaseSampler",
)  # fmt: skip


def empty_latent(rewriter: Rewriter, node: Node, streams: str, **given: Any) -> str:
    """given: width, height, frames, frame_rate. Sizes off the grid are cut down to it, as ComfyUI does."""
    for name, snap in (("width", snap_size), ("height", snap_size), ("frames", snap_frames)):
        value = given.get(name)
        if isinstance(value, (int, float)):
            given[name] = snap(max(int(value), 1))
        elif value is not None and name != "frames":
            rewriter.report.differs(
                f"{node.name}: its {name} comes from another node; off the grid of {SCALE.space} ComfyUI rounds it "
                "down, OpenLTX to the nearest"
            )
    batch = node.inputs.get("batch_size", 1)
    if isinstance(batch, int) and batch > 1:
        rewriter.report.remark(f"{node.name}: batch_size {batch}; one clip is made at a time, queue it {batch} times")
    return rewriter.add(
        EMPTY, {"model": Later("model"), "frame_rate": Later("rate"), "streams": streams, **given}, node
    )


def empty_video(rewriter: Rewriter, node: Node, row: Row) -> None:
    sizes = {"width": "width", "height": "height", "frames": "length"}
    made = empty_latent(rewriter, node, "video only", **{new: rewriter.input(node, old) for new, old in sizes.items()})
    _one(rewriter, node, row, made)


def empty_audio(rewriter: Rewriter, node: Node, row: Row) -> None:
    given = {"frames": rewriter.input(node, "frames_number"), "frame_rate": rewriter.input(node, "frame_rate")}
    _one(rewriter, node, row, empty_latent(rewriter, node, "audio only", **given))


def no_video(rewriter: Rewriter, node: Node, row: Row) -> None:
    """A dummy picture beside sound alone: no stream at all here."""
    rewriter.give(node, [None])
    rewriter.report.add("replaced", node.name, note="sound alone needs no picture here")


def join(rewriter: Rewriter, node: Node, row: Row) -> None:
    given = rewriter.options(node, row)
    present = [given[name] for name in ("video", "audio") if given[name] is not None]
    if len(present) < 2:
        rewriter.give(node, [present[0] if present else None])
        told(rewriter, node, row, [])
        return
    _one(rewriter, node, row, rewriter.add(JOIN, given, node))


def noise_mask(rewriter: Rewriter, node: Node, row: Row) -> None:
    """A mask of zeros keeps a whole stream, one of ones nothing; others stay what they are."""
    mask = source_of(rewriter, node.inputs.get("mask"))
    value = mask.inputs.get("value") if mask is not None and mask.type == "SolidMask" else None
    if value == 1:
        rewriter.give(node, [rewriter.input(node, "samples")])
        told(rewriter, node, row, [], "a mask of ones says nothing")
    elif value == 0:
        stream = "audio" if is_sound(rewriter.source, node.inputs.get("samples")) else "video"
        inputs = {"latent": rewriter.input(node, "samples"), "stream": stream}
        _one(rewriter, node, row, rewriter.add("OpenLTXFreezeStream", inputs, node))
    else:
        keep(rewriter, node, "a mask between 0 and 1 is read by ComfyUI's rule (Mask Rule)")


def is_sound(graph: Graph, value: Any) -> bool:
    """Whether a latent of the old graph is sound alone."""
    if not isinstance(value, Wire) or value.node not in graph:
        return False
    node = graph[value.node]
    if node.type == "LTXVSeparateAVLatent":
        return value.slot == 1
    return node.type in SOUND or (node.type == "SetLatentNoiseMask" and is_sound(graph, node.inputs.get("samples")))


def retake(rewriter: Rewriter, node: Node, row: Row) -> None:
    """Some seconds of a clip anew."""
    streams = [name for name in ("video", "audio") if rewriter.input(node, f"mask_{name}") is not False]
    inputs = {
        "latent": rewriter.input(node, "av_latent"),
        "start": rewriter.input(node, "start_time"),
        "end": rewriter.input(node, "end_time"),
        "streams": " and ".join(streams) or "video and audio",
        "outside": rewriter.input(node, "mask_init_value") or 0.0,
        "frame_rate": rewriter.input(node, "video_fps") or 0.0,
        "mask": rewriter.input(node, "spatial_mask"),
    }
    made = rewriter.add("OpenLTXTimeMask", {name: value for name, value in inputs.items() if value is not None}, node)
    by_type = {"LATENT": [made, 0], "MODEL": rewriter.input(node, "model")}
    names = [kind if kind != "CONDITIONING" else name for name, kind in node.outputs]
    rewriter.give(node, [by_type.get(name, rewriter.input(node, name)) for name in names] or [[made, 0]])
    rewriter.made[node.id] = made
    told(rewriter, node, row, ["OpenLTXTimeMask"], "slope_len softens nothing in a mask")


def time_masks(rewriter: Rewriter, node: Node, row: Row) -> None:
    """The same for two latents apart."""
    outputs = []
    for stream in ("video", "audio"):
        latent = rewriter.input(node, f"{stream}_latent")
        inputs = {
            "latent": latent,
            "start": rewriter.input(node, f"{stream}_start_time"),
            "end": rewriter.input(node, f"{stream}_end_time"),
            "streams": stream,
        }
        outputs.append(None if latent is None else [rewriter.add("OpenLTXConditionRetake", inputs, node), 0])
    rewriter.give(node, outputs)
    rewriter.report.differs(f"{node.name}: every token that touches the seconds is made anew, that node takes fewer")
    told(rewriter, node, row, ["OpenLTXConditionRetake"])


def reference_audio(rewriter: Rewriter, node: Node, row: Row) -> None:
    """In ComfyUI it travels with the texts; here with the latents of the stages that read them."""
    given = rewriter.options(node, row)
    item = {
        name: given.get(old) for name, old in (("audio_vae", "audio_vae"), ("audio", "audio"), ("reference", "latent"))
    }
    for stage in conditioned_stages(rewriter.source, node.id):
        rewriter.common.setdefault("voices", []).append((stage, item, node))
    by_name = {"model": given.get("model"), "positive": given["positive"], "negative": given["negative"]}
    outputs = [by_name[name] for name in by_name if name != "model" or "model" in row.inputs]
    rewriter.give(node, [*outputs, given.get("latent")])
    if given["scale"]:
        rewriter.report.differs(
            f"{node.name}: its extra guidance by the voice ({given['scale']}) has no counterpart; the voice is kept"
        )
    told(rewriter, node, row, ["OpenLTXReferenceVoice"])


def conditioned_stages(graph: Graph, node_id: str) -> list[str]:
    """The samplers that read the texts of a node, not those that only go on from their latents."""
    found: dict[str, None] = {}
    front, seen = [node_id], {node_id}
    while front:
        name = front.pop()
        for node in graph.values():
            if any(wire.node == name and key in CONDITIONED for key, wire in node.wires()) and node.id not in seen:
                seen.add(node.id)
                if node.type in SAMPLERS:
                    found[node.id] = None
                else:
                    front.append(node.id)
    return list(found)


def frame_rate(rewriter: Rewriter) -> Any:
    """Of the old graph: of LTXVConditioning, or what ComfyUI takes without one. A Wire or a number."""
    rates = [node for node in rewriter.source.values() if node.type == "LTXVConditioning"]
    found = [node.inputs.get("frame_rate", 25.0) for node in rates]
    if len(set(map(str, found))) > 1:
        rewriter.report.remark(f"frame rates {', '.join(map(str, found))}: several in one file; the first one is used")
    if not found:
        rewriter.report.remark("no LTXVConditioning in the file: 25 frames a second, as ComfyUI takes it")
    return found[0] if found else 25.0


RULES = {
    "empty_video": empty_video,
    "empty_audio": empty_audio,
    "no_video": no_video,
    "join": join,
    "noise_mask": noise_mask,
    "retake": retake,
    "time_masks": time_masks,
    "reference_audio": reference_audio,
}


def _one(rewriter: Rewriter, node: Node, row: Row, made: str) -> None:
    rewriter.give(node, [[made, 0]])
    rewriter.made[node.id] = made
    told(rewriter, node, row, [rewriter.prompt[made]["class_type"]])


def nearest(graph: Graph, value: Any, *names: str) -> Node | None:
    """The first node of one of these types that a wire leads back to."""
    if not isinstance(value, Wire) or value.node not in graph:
        return None
    places = [graph[value.node], *upstream(graph, value.node)]
    return next((node for node in places if node.type in names), None)
