"""Loaders: what several nodes read out of one file comes from one node here."""

from __future__ import annotations

from typing import Any

from ...nodes.load import IN_THESE, INSIDE
from ..graph import Node, Wire, consumers
from ..rewrite import Rewriter, told
from ..table import Row, rows

MODEL, TRANSFORMER, VAE, LORA, TEXT_LORA = (
    "OpenLTXLoadModel", "OpenLTXLoadTransformer", "OpenLTXLoadVAE", "OpenLTXLoadLora", "OpenLTXLoadTextLora",
)  # fmt: skip
ENCODER = "gemma_3_12B_it.safetensors"  # where a file names none


def checkpoint(rewriter: Rewriter, node: Node, row: Row) -> None:
    """Model, text encoder, video VAE."""
    loader = _load_model(rewriter, str(node.inputs.get("ckpt_name")), node)
    rewriter.give(node, [[loader, 0], [loader, 1], [loader, 2]])
    _told(rewriter, node, row, loader)


def transformer(rewriter: Rewriter, node: Node, row: Row) -> None:
    loader = _load_transformer(rewriter, str(rewriter.options(node, row)["file"]), node)
    rewriter.give(node, [[loader, 0]])
    _told(rewriter, node, row, loader)


def text_encoder(rewriter: Rewriter, node: Node, row: Row) -> None:
    """The encoder goes into the loader of its model: the connectors lie beside the transformer."""
    if node.id not in {one.id for one in _encoders(rewriter)[:1]} and _encoders(rewriter):
        rewriter.give(node, [[_owner(rewriter, node), 1]])
        rewriter.report.add("replaced", node.name, "the text encoder of the prompts", "a second one is not loaded")
        return
    loader = _owner(rewriter, node)
    rewriter.give(node, [[loader, 1]])
    _told(rewriter, node, row, loader)


def audio_vae(rewriter: Rewriter, node: Node, row: Row) -> None:
    file = str(rewriter.options(node, row)["checkpoint"])
    if "audio" in file.lower() or (file not in _files(rewriter, "checkpoint", "ckpt_name") and _vaes(rewriter)):
        loader, note = _load_vae(rewriter, node), f"put {file} into models/vae"
        rewriter.prompt[loader]["inputs"]["audio_vae"] = file
        rewriter.give(node, [[loader, 1]])
        _told(rewriter, node, row, loader, note)
        return
    loader = _load_model(rewriter, file, node)
    rewriter.give(node, [[loader, 3]])
    _told(rewriter, node, row, loader)


def vae(rewriter: Rewriter, node: Node, row: Row) -> None:
    loader, audio = _load_vae(rewriter, node), _is_audio(rewriter, node)
    rewriter.give(node, [[loader, int(audio)]])
    _told(rewriter, node, row, loader)


def lora(rewriter: Rewriter, node: Node, row: Row) -> None:
    """Of the transformer, and of the text encoder where both outputs are used."""
    given = rewriter.options(node, row)
    used = {slot for _, _, slot in consumers(rewriter.source)[node.id]}
    outputs, kinds = [given["model"], given.get("clip")], []
    if 0 in used and given["model"] is not None:
        names = ("model", "lora", "strength", "video", "audio", "audio_to_video", "video_to_audio")
        loader = rewriter.add(LORA, {name: given.get(name) for name in names}, node)
        outputs[0] = [loader, 0]
        rewriter.made[node.id] = loader
        kinds.append(LORA)
    if 1 in used and given.get("clip") is not None:
        inputs = {"text_encoder": given["clip"], "lora": given["lora"], "strength": given["clip_strength"]}
        outputs[1] = [rewriter.add(TEXT_LORA, inputs, node), 0]
        kinds.append(TEXT_LORA)
    if given.get("factor"):
        outputs[1] = [rewriter.made[node.id], 1] if node.id in rewriter.made else 1
    rewriter.give(node, outputs)
    told(rewriter, node, row, kinds)


def lora_factor(rewriter: Rewriter, node: Node, row: Row) -> None:
    """The factor of the nearest LoRA: it stands in the file's metadata, which our loader reads."""
    place = rewriter.input(node, "iclora_model")
    while isinstance(place, list) and rewriter.prompt[place[0]]["class_type"] != LORA:
        place = rewriter.prompt[place[0]]["inputs"].get("model")
    rewriter.give(node, [[place[0], 1] if isinstance(place, list) else 1])
    told(rewriter, node, row, [LORA] if isinstance(place, list) else [])


RULES = {
    "checkpoint": checkpoint,
    "transformer": transformer,
    "text_encoder": text_encoder,
    "audio_vae": audio_vae,
    "vae": vae,
    "lora": lora,
    "lora_factor": lora_factor,
}


def _load_model(rewriter: Rewriter, file: str, origin: Node) -> str:
    def inputs() -> dict[str, Any]:
        files = _encoder_files(rewriter)
        return {"checkpoint": file, "text_encoder": files[0] if files else INSIDE, "dtype": "auto"}

    return _shared(rewriter, (MODEL, file), inputs, origin, "Model")


def _load_transformer(rewriter: Rewriter, file: str, origin: Node) -> str:
    def inputs() -> dict[str, Any]:
        files = _encoder_files(rewriter)
        encoder = next((name for name in files if not _is_part(name)), None)
        if encoder is None:
            rewriter.report.remark(
                f"{origin.name}: the file names no text encoder; {ENCODER} stands there, choose yours"
            )
        parts = {
            part: next((name for name in files if part[:-1] in name.lower()), IN_THESE)
            for part in ("connectors", "projection")
        }
        return {"transformer": file, "text_encoder": encoder or ENCODER, "dtype": "auto", **parts}

    return _shared(rewriter, (TRANSFORMER, file), inputs, origin, "Transformer")


def _load_vae(rewriter: Rewriter, origin: Node) -> str:
    def inputs() -> dict[str, Any]:
        files = {_is_audio(rewriter, node): str(node.inputs.get("vae_name")) for node in _vaes(rewriter)}
        for audio in {False, True} - set(files):
            kind = "sound" if audio else "picture"
            rewriter.report.remark(
                f"{origin.name}: the file names no VAE for the {kind} beside it; choose one in Load VAEs (LTX)"
            )
        some = next(iter(files.values()), "")
        return {"video_vae": files.get(False, some), "audio_vae": files.get(True, some), "dtype": "auto"}

    return _shared(rewriter, (VAE, ""), inputs, origin, "VAEs")


def _shared(rewriter: Rewriter, key: tuple[str, str], inputs: Any, origin: Node, title: str) -> str:
    """The node for a file; the second time the one made before."""
    made: dict[tuple[str, str], str] = rewriter.common.setdefault("loaders", {})
    if key not in made:
        made[key] = rewriter.add(key[0], inputs(), origin, title)
    return made[key]


def _owner(rewriter: Rewriter, node: Node) -> str:
    """The loader whose text encoder a node of the old graph is."""
    row = rows()[node.type]
    named = rewriter.options(node, row).get("checkpoint")
    transformers = _files(rewriter, "transformer", "unet_name") or _files(rewriter, "transformer", "model_name")
    if transformers:
        return _load_transformer(rewriter, transformers[0], node)
    checkpoints = _files(rewriter, "checkpoint", "ckpt_name")
    file = named if named in checkpoints or not checkpoints else checkpoints[0]
    return _load_model(rewriter, str(file or ""), node)


def _of_rule(rewriter: Rewriter, rule: str) -> list[Node]:
    found = [node for node in rewriter.source.values() if node.id not in rewriter.foreign]
    return [node for node in found if node.type in rows() and rows()[node.type].rule == rule]


def _files(rewriter: Rewriter, rule: str, name: str) -> list[str]:
    return [node.inputs[name] for node in _of_rule(rewriter, rule) if isinstance(node.inputs.get(name), str)]


def _encoders(rewriter: Rewriter) -> list[Node]:
    """Text encoder loaders, those of prompts before those of prompt enhancers."""
    takers = consumers(rewriter.source)

    def prompts(node: Node) -> int:
        front, seen = [node.id], set[str]()
        while front:
            for taker, name, _ in takers[front.pop()]:
                if rewriter.source[taker].type in ("CLIPTextEncode", "MultiPromptProvider", "LTXVMultiPromptProvider"):
                    return 0
                if name == "clip" and taker not in seen and rewriter.source[taker].type.startswith("Lora"):
                    seen.add(taker)
                    front.append(taker)
        return 1

    return sorted(_of_rule(rewriter, "text_encoder"), key=prompts)


def _encoder_files(rewriter: Rewriter) -> list[str]:
    found: list[str] = []
    for node in _encoders(rewriter)[:1]:
        given = rewriter.options(node, rows()[node.type])
        found = [name for name in [*given["files"], given.get("checkpoint")] if isinstance(name, str)]
        if not _of_rule(rewriter, "transformer"):
            found = [name for name in given["files"] if isinstance(name, str)]
    return found


def _is_part(name: str) -> bool:
    return "connector" in name.lower() or "projection" in name.lower()


def _vaes(rewriter: Rewriter) -> list[Node]:
    return _of_rule(rewriter, "vae")


def _is_audio(rewriter: Rewriter, node: Node) -> bool:
    takers = consumers(rewriter.source)[node.id]
    audio = any(name == "audio_vae" or rewriter.source[taker].type == "VAEDecodeAudio" for taker, name, _ in takers)
    return audio or "audio" in str(node.inputs.get("vae_name", "")).lower()


def _told(rewriter: Rewriter, node: Node, row: Row, loader: str, note: str | None = None) -> None:
    rewriter.made[node.id] = loader
    into = rewriter.name_of(rewriter.prompt[loader]["class_type"])
    rewriter.report.add("replaced", node.name, f"{into} (node {loader})", "; ".join(t for t in (note, row.note) if t))


def source_of(rewriter: Rewriter, value: Any) -> Node | None:
    """The node of the old graph that a wire comes from."""
    return rewriter.source.get(value.node) if isinstance(value, Wire) else None
