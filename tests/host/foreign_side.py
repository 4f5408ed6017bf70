"""ComfyUI's own LTX-2 model of the embedded weights, and graphs with our guiders and samplers on it."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from openltx.model_loaders.checkpoint import open_checkpoint

ASSETS = Path(__file__).resolve().parents[2] / "assets"
NAME = "tiny-for-comfyui.safetensors"
REGISTERS = "embeddings_connector.learnable_registers"
SOUND = 128  # numbers of an audio token, as published


def stage_of(base: Path, side: Any) -> dict[str, Any]:
    """The usual pieces, and `theirs`: ComfyUI's own model of the same weights."""
    checkpoints, models = base / "models" / "checkpoints", base / "models" / "diffusion_models"
    for folder in (checkpoints, models):
        folder.mkdir(exist_ok=True)
    save_as_comfyui_expects(checkpoints / NAME)
    (models / NAME).symlink_to(checkpoints / NAME)
    stage: dict[str, Any] = side.stage()
    stage["load"]["inputs"]["checkpoint"] = NAME
    return {**stage, "theirs": side.node("UNETLoader", unet_name=NAME, weight_dtype="default")}


def save_as_comfyui_expects(path: Path) -> None:
    """The embedded model with what ComfyUI's network takes for granted: 128 registers, sound of 8 channels."""
    source = ASSETS / "openltx-tiny-2.3.safetensors"
    tensors, metadata = load_file(source), dict(open_checkpoint(source).metadata)
    for name in [name for name in tensors if name.endswith(REGISTERS)]:
        tensors[name] = torch.cat([tensors[name]] * (128 // len(tensors[name])))
    prefix = "model.diffusion_model.audio_"
    into, out = tensors[f"{prefix}patchify_proj.weight"], tensors[f"{prefix}proj_out.weight"]
    times = SOUND // into.shape[1]
    tensors[f"{prefix}patchify_proj.weight"] = torch.cat([into] * times, dim=1) / times
    tensors[f"{prefix}proj_out.weight"] = torch.cat([out] * times)
    tensors[f"{prefix}proj_out.bias"] = torch.cat([tensors[f"{prefix}proj_out.bias"]] * times)
    config = json.loads(metadata["config"])
    config["transformer"] |= {"audio_in_channels": SOUND, "audio_out_channels": SOUND}
    save_file(tensors, path, {**metadata, "config": json.dumps(config)})


def guided(side: Any, model: str, **settings: Any) -> dict[str, Any]:
    """Our guider on a model, under ComfyUI's sampler."""
    plain = {"cfg": 3.0, "stg": 0.0, "stg_blocks": "0", "modality": 1.0, "rescale": 0.0, "skip": 0, "text_rule": "cfg"}
    how = side.node("OpenLTXStreamGuidance", **{**plain, **settings})
    links: dict[str, Any] = {"positive": ["rate", 0], "negative": ["rate", 1], "video": ["how", 0], "audio": ["how", 0]}
    return {"how": how, "guider": side.node("OpenLTXGuider", model=[model, 0], **links), "out": side.advanced()}


def staged(side: Any, model: str, *, latent: str = "empty", sampler: str = "rule", **settings: Any) -> dict[str, Any]:
    """Our own sampler with our guider on a model."""
    graph = guided(side, model, **settings)
    graph["rule"] = side.node("OpenLTXSampler", rule="euler", eta=1.0, s_noise=1.0, gamma=2.0, sde_seed=1)
    pieces: dict[str, Any] = {"noise": ["noise", 0], "guider": ["guider", 0], "sampler": [sampler, 0]}
    graph["out"] = side.node("OpenLTXSampleStage", sigmas=["sigmas", 0], latent=[latent, 0], **pieces)
    return graph


def members(latent: Any) -> list[torch.Tensor]:
    samples = latent["samples"]
    return list(samples.unbind()) if getattr(samples, "is_nested", False) else [samples]


def close(one: Any, other: Any, bar: float = 2e-2) -> bool:
    """Largest relative difference of a stream below the bar."""
    return all(float((a - b).norm()) <= bar * float(b.norm()) for a, b in zip(one, other, strict=True))


def knows(word: str) -> bool:
    """Whether ComfyUI's network of these models reads an option, as the code probes it."""
    folder = Path(importlib.import_module("comfy").__path__[0]) / "ldm" / "lightricks"
    return word in (folder / "av_model.py").read_text(encoding="utf-8")
