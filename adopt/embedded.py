"""An old graph brought down to the embedded model: its files, small sizes, few steps; LoRAs left out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..nodes.load import INSIDE
from .graph import Graph, Node, Wire, consumers, upstream
from .owners import foreign_nodes
from .table import rows

CHECKPOINT, UPSCALER = "openltx-tiny-2.3.safetensors", "openltx-tiny-2.3-spatial-x2.safetensors"
INPUTS = {
    "image": "ball_first.png",
    "file": "ball.mp4",
    "video": "ball.mp4",
    "audio": "knocks.wav",
    "audio_file": "knocks.wav",
}
FILES = (
    "LoadImage",
    "LoadImageMask",
    "LoadVideo",
    "LoadAudio",
    "VHS_LoadVideo",
    "VHS_LoadAudioUpload",
    "VHS_LoadAudio",
)
SIDE, FRAMES, STEPS = 64, 9, 3  # of the first stage
WRITERS = ("TextGenerateLTX2Prompt", "LTXVGemmaEnhancePrompt", "LTXVPromptEnhancer")  # the model writes no prompts
BLOCKS, BLOCK = ("blocks", "skip_blocks", "block_indices", "stg_layers_indices"), "1"  # the model has four
SIDES = ("width", "height", "resize_type.width", "resize_type.height", "target_width", "target_height")
LONG = ("resize_type.longer_size", "resize_type.shorter_size", "longer_edge", "largest_size")
TEXTS, WORDS, SOUND = ("text", "string", "value", "prompt", "source"), "a ball bounces", "sound of another model"
PICTURES = ("pixels", "image", "images", "input")
LATENTS = ("empty_video", "image_to_video", "base_sampler")


def embedded(graph: Graph) -> Graph:
    """A graph that runs on the embedded model, with the same nodes but for loaders, LoRAs and other models."""
    longest = _longest(graph)
    found = {node.id: replace(node, inputs=dict(node.inputs)) for node in graph.values()}
    _without(found, foreign_nodes(found))
    for node in list(found.values()):
        row = rows().get(node.type)
        rule = None if row is None else row.rule
        if node.type in WRITERS:
            _rewire(found, node.id, {0: node.inputs.get("prompt")})
            del found[node.id]
        elif rule == "lora":
            _bypass(found, node)
        elif rule == "lora_factor":
            _drop(found, node)
        elif rule is not None:
            _small(found, node, rule)
        if node.type in FILES:
            node.inputs |= {name: file for name, file in INPUTS.items() if name in node.inputs}
        if isinstance(node.inputs.get("steps"), int):
            node.inputs["steps"] = min(node.inputs["steps"], STEPS)
        node.inputs |= {name: BLOCK for name in BLOCKS if name in node.inputs}
        _smaller(node, rule, longest)
    return found


def _without(graph: Graph, foreign: set[str]) -> None:
    """Another model (depth, say) hands its pictures on as they are; a file or a word stands for sound and text."""
    sources = {node_id: _picture(graph, node_id, foreign) for node_id in foreign}
    for node_id in foreign:
        for taker, name, _ in consumers(graph)[node_id]:
            heard = "audio" in name
            if heard:
                graph[SOUND] = Node(id=SOUND, type="LoadAudio", inputs={"audio": INPUTS["audio"]})
            read = WORDS if name in TEXTS else sources[node_id]
            graph[taker].inputs[name] = Wire(SOUND, 0) if heard else read
        del graph[node_id]
    for node in graph.values():
        node.inputs = {name: value for name, value in node.inputs.items() if value is not None}


def _picture(graph: Graph, node_id: str, foreign: set[str]) -> Wire | None:
    """The pictures that another model is given, nearest to one of its nodes."""
    places = [graph[node_id], *(node for node in upstream(graph, node_id) if node.id in foreign)]
    wires = (wire for node in places for name, wire in node.wires() if name in PICTURES and wire.node not in foreign)
    return next(wires, None)


def _small(graph: Graph, node: Node, rule: str) -> None:
    """A loader as one of the embedded file."""
    if rule in ("checkpoint", "transformer"):
        node.type, node.inputs = "CheckpointLoaderSimple", {"ckpt_name": CHECKPOINT}
    elif rule == "text_encoder":
        node.type = "LTXAVTextEncoderLoader"
        node.inputs = {"text_encoder": INSIDE, "ckpt_name": CHECKPOINT, "device": "default"}
    elif rule == "audio_vae" or (rule == "vae" and _is_audio(graph, node)):
        node.type, node.inputs = "LTXVAudioVAELoader", {"ckpt_name": CHECKPOINT}
    elif rule == "vae":
        node.type, node.inputs = "CheckpointLoaderSimple", {"ckpt_name": CHECKPOINT}
        _rewire(graph, node.id, {0: Wire(node.id, 2)})


def _smaller(node: Node, rule: str | None, longest: int) -> None:
    """Sides and lengths in proportion; longest: the longest side of the old graph's latents."""
    if node.type in ("LatentUpscaleModelLoader", "LowVRAMLatentUpscaleModelLoader"):
        node.inputs["model_name"] = UPSCALER
    for name, value in list(node.inputs.items()):
        if not isinstance(value, int) or isinstance(value, bool):
            continue
        if name in SIDES:
            small = max(round(value * SIDE / longest / 32), 1) * 32
            node.inputs[name] = min(small, SIDE) if rule in LATENTS else small
        elif name in LONG:
            node.inputs[name] = max(round(value * SIDE / longest / 32), 1) * 32
        elif name in ("length", "frames_number", "num_frames", "amount", "frame_load_cap") and value > FRAMES:
            node.inputs[name] = FRAMES
        elif name == "frame_idx" and value > 0:
            node.inputs[name] = min(value, FRAMES - 1)


def _longest(graph: Graph) -> int:
    """Of its latents; where their size comes from pictures, of these."""
    for rules in (LATENTS, None):
        nodes = [
            node
            for node in graph.values()
            if rules is None or (node.type in rows() and rows()[node.type].rule in rules)
        ]
        sides = [node.inputs.get(name) for node in nodes for name in SIDES]
        found = [side for side in sides if isinstance(side, int) and side > 0]
        if found:
            return max(found)
    return SIDE


def _bypass(graph: Graph, node: Node) -> None:
    """A LoRA's consumers take what it takes."""
    sources: dict[int, Any] = {0: node.inputs.get("model"), 1: node.inputs.get("clip")}
    _rewire(graph, node.id, sources)
    del graph[node.id]


def _drop(graph: Graph, node: Node) -> None:
    _rewire(graph, node.id, {0: None})
    del graph[node.id]


def _rewire(graph: Graph, node_id: str, sources: dict[int, Any]) -> None:
    for taker, name, slot in consumers(graph)[node_id]:
        if sources.get(slot) is None:
            del graph[taker].inputs[name]
        else:
            graph[taker].inputs[name] = sources[slot]


def _is_audio(graph: Graph, node: Node) -> bool:
    takers = consumers(graph)[node.id]
    return any(name == "audio_vae" for _, name, _ in takers) or "audio" in str(node.inputs.get("vae_name", "")).lower()
