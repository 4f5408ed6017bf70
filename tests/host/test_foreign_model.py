"""Our guiders on ComfyUI's own LTX-2 model, which reads the embedded file with its own loader and its own network."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from openltx.model_loaders.checkpoint import open_checkpoint

ASSETS = Path(__file__).resolve().parents[2] / "assets"
NAME = "tiny-for-comfyui.safetensors"
REGISTERS = "embeddings_connector.learnable_registers"
CHANGES: list[dict[str, Any]] = [{"rescale": 0.7}, {"modality": 3.0}, {"text_rule": "apg", "apg_eta": 0.0}]
SOUND = 128  # numbers of an audio token, as published


@pytest.fixture(scope="module")
def stage(comfyui_base: Path, side: Any) -> dict[str, Any]:
    """The usual pieces, and `theirs`: ComfyUI's own model of the same weights."""
    checkpoints, models = comfyui_base / "models" / "checkpoints", comfyui_base / "models" / "diffusion_models"
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


def sampled(graphs: Any, side: Any, stage: Any, model: str, **settings: Any) -> Any:
    return graphs.run({**stage, **guided(side, model, **settings)}, ("out", 0))["samples"].unbind()


def close(one: Any, other: Any, bar: float = 2e-2) -> bool:
    return all(float((a - b).norm() / b.norm()) < bar for a, b in zip(one, other, strict=True))


def test_plain_guidance_is_that_of_their_own_guider(graphs: Any, side: Any, stage: Any) -> None:
    theirs = graphs.run({**stage, **side.cores(3.0, model="theirs")}, ("out", 0))["samples"].unbind()
    assert close(sampled(graphs, side, stage, "theirs"), theirs, 1e-5)


@pytest.mark.parametrize("settings", CHANGES, ids=str)
def test_guidance_means_the_same_on_both(graphs: Any, side: Any, stage: Any, settings: dict[str, Any]) -> None:
    plain = sampled(graphs, side, stage, "load")
    if not close(sampled(graphs, side, stage, "theirs"), plain):
        pytest.skip("this ComfyUI's own network computes other numbers than ours, without any guidance of ours")
    ours = sampled(graphs, side, stage, "load", **settings)
    assert close(sampled(graphs, side, stage, "theirs", **settings), ours)
    assert not close(ours, plain)


def test_skipped_blocks_or_a_word_about_them(graphs: Any, side: Any, stage: Any) -> None:
    folder = Path(importlib.import_module("comfy").__path__[0]) / "ldm" / "lightricks"
    knows = "stg_self_attn_blocks" in (folder / "av_model.py").read_text(encoding="utf-8")  # as the code probes it
    if knows:
        ours = sampled(graphs, side, stage, "load", stg=1.0)
        assert close(sampled(graphs, side, stage, "theirs", stg=1.0), ours)
        assert not close(ours, sampled(graphs, side, stage, "load"))
    else:
        text = graphs.run({**stage, **guided(side, "theirs", stg=1.0)}, ("out", 0), expect="failed")
        assert "expected stg 0 on ComfyUI's own model" in text


def test_what_cannot_be_done_on_it_is_named(graphs: Any, side: Any, stage: Any) -> None:
    graph = {**stage, **guided(side, "theirs", skip=1)}
    graph["guider"]["inputs"].pop("audio")  # the picture alone skips steps
    text = graphs.run(graph, ("out", 0), expect="failed")
    assert "expected skip 0 on ComfyUI's own model" in text
    text = graphs.run({**stage, "out": side.ours(model="theirs")}, ("out", 0), expect="failed")
    assert "model: expected a model from Load LTX Model, found ComfyUI's LTXAV" in text


def test_an_empty_latent_for_it(graphs: Any, side: Any, stage: Any, caplog: pytest.LogCaptureFixture) -> None:
    size = {"width": 64, "height": 64, "frames": 17, "frame_rate": 24.0}
    graph = {**stage, "fitting": side.node("OpenLTXEmptyAVLatent", model=["theirs", 0], **size)}
    found, expected = graphs.run(graph, ("fitting", 0), ("empty", 0))
    shapes = [[member.shape for member in latent["samples"].unbind()] for latent in (found, expected)]
    assert shapes[0] == shapes[1]
    assert "openltx_generation" not in found
    assert "ComfyUI's LTXAV does not say of which generation it is" in caplog.text
