"""CLIP and LATENT_UPSCALE_MODEL in ComfyUI: its text node and its upsampler on ours."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch


def test_text(graphs: Any, side: Any) -> None:
    """Equal to our own node, and fit for both samplers."""
    graph = side.stage()
    ours, theirs = graphs.run(
        {**graph, "core": side.node("CLIPTextEncode", clip=["load", 1], text="a ball bounces")}, ("yes", 0), ("core", 0)
    )
    assert torch.equal(theirs[0][0], ours[0][0])
    assert theirs[0][1]["openltx_generation"] == ours[0][1]["openltx_generation"]
    graph["yes"] = side.node("CLIPTextEncode", clip=["load", 1], text="a ball bounces")
    expected = graphs.run({**side.stage(), "out": side.ours()}, ("out", 0))
    for sampler in ({"out": side.ours()}, side.cores()):
        found = graphs.run({**graph, **sampler}, ("out", 0))
        for one, other in zip(found["samples"].unbind(), expected["samples"].unbind(), strict=True):
            assert torch.allclose(one, other, atol=2e-5)


def test_every_member_that_hosts_ask_for(graphs: Any, side: Any) -> None:
    clip, ours = graphs.run(side.stage(), ("load", 1), ("yes", 0))
    assert isinstance(clip, importlib.import_module("comfy.sd").CLIP)
    tokens = clip.tokenize("a ball bounces")
    assert [len(entry) for entry in tokens["gemma"][0]] == [2] * len(tokens["gemma"][0])
    with torch.inference_mode():
        contexts, pooled = clip.encode_from_tokens(tokens, return_pooled=True)
        clone = clip.clone().encode_from_tokens(clip.clone().tokenize("a ball bounces"))
    assert pooled is None
    assert torch.equal(contexts, ours[0][0])
    assert torch.equal(clone, contexts)
    assert clip.get_sd()
    with pytest.raises(ValueError, match="encodes prompts only"):
        clip.generate(tokens)


def test_patched_weights_change_the_text_of_both_nodes(graphs: Any, side: Any) -> None:
    """The memory of our encoder, which goes by the files' names, must not answer for them."""
    clip = graphs.run(side.stage(), ("load", 1))
    patched = clip.clone()
    key = next(name for name in patched.patcher.model_state_dict() if name.endswith("layers.0.mlp.down_proj.weight"))
    weight = patched.patcher.model_state_dict()[key]
    patched.add_patches({key: ("diff", (torch.ones_like(weight) * 0.1,))})
    own = importlib.import_module("openltx_in_comfyui.nodes.host.comfyui.clip").own_clip
    cpu = torch.device("cpu")
    with torch.inference_mode():
        plain, changed, again = (own(each, "clip").encoder.on(cpu).encode("a ball") for each in (clip, patched, clip))
    assert not torch.allclose(plain.video_context, changed.video_context, atol=1e-3)
    assert torch.equal(plain.video_context, again.video_context)


def test_upsampler(graphs: Any, side: Any) -> None:
    name = "openltx-tiny-2.3-spatial-x2.safetensors"
    graph = {**side.stage(), "out": side.ours(), "split": side.node("LTXVSeparateAVLatent", av_latent=["out", 0])}
    graph["big"] = side.node("OpenLTXLoadUpscaler", upscaler=name, dtype="float32")
    links: dict[str, Any] = {"samples": ["split", 0], "upscale_model": ["big", 0], "vae": ["load", 2]}
    graph["theirs"] = side.node("LTXVLatentUpsampler", **links)
    mine: dict[str, Any] = {"upscaler": ["big", 0], "video_vae": ["load", 2], "latent": ["split", 0]}
    graph["ours"] = side.node("OpenLTXUpscaleLatent", **mine)
    theirs, ours = graphs.run(graph, ("theirs", 0), ("ours", 0))
    assert tuple(theirs["samples"].shape) == (1, 32, 3, 4, 4)
    assert torch.allclose(theirs["samples"], ours["samples"], atol=1e-5)


def test_parts_of_others_are_named(comfyui_base: Any) -> None:
    package = "openltx_in_comfyui.nodes.host.comfyui"

    class Foreign:
        cond_stage_model = torch.nn.Linear(1, 1)

    with pytest.raises(ValueError, match="text_encoder: expected .* found ComfyUI's Linear; encode with Encode Prompt"):
        importlib.import_module(f"{package}.clip").own_clip(Foreign(), "text_encoder")
    with pytest.raises(ValueError, match="upscaler: expected .* found ComfyUI's Linear; load its file"):
        importlib.import_module(f"{package}.upscaler").own_upscaler(torch.nn.Linear(1, 1), "upscaler")
