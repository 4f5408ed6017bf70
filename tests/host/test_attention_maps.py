"""Attention maps in ComfyUI: our sampler and its own show the same, and so does our own host."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from openltx.nodes.attention_maps import RecordAttention, ShowAttention
from openltx.nodes.conditioning import EncodePrompt
from openltx.nodes.guide import Guider
from openltx.nodes.latents import EmptyAVLatent
from openltx.nodes.load import INSIDE, LoadModel
from openltx.nodes.noise import SeededNoise
from openltx.nodes.rules import NamedRule
from openltx.nodes.stage import run_stage
from openltx.samplers.guidance import Guidance
from openltx.samplers.streams import Streams

ASKED: dict[str, Any] = {"block": 1, "attention": "text", "tokens": "1-4", "step": 1, "head": -1}


def with_map(side: Any, sampler: dict[str, Any], **asked: Any) -> dict[str, Any]:
    watched = side.node("OpenLTXRecordAttention", model=["load", 0], **{**ASKED, **asked})
    shown = side.node("OpenLTXAttentionMap", attention=["watched", 1], latent=["out", 0], opacity=0.5)
    return {**side.stage(), "watched": watched, **sampler, "shown": shown}


@pytest.mark.parametrize("name", ["text", "picture", "sound to picture", "picture to sound"])
def test_both_samplers_show_the_same(graphs: Any, side: Any, name: str) -> None:
    theirs = with_map(side, side.cores(3.0, model="watched"), attention=name)
    latent, images, found = graphs.run(theirs, ("out", 0), ("shown", 0), ("shown", 2))
    assert images.shape == (3, 64, 64, 3)
    plain = graphs.run({**side.stage(), **side.cores(3.0)}, ("out", 0))
    for one, other in zip(latent["samples"].unbind(), plain["samples"].unbind(), strict=True):
        assert torch.equal(one, other)
    ours = graphs.run(with_map(side, {"out": side.ours(3.0, model="watched")}, attention=name), ("shown", 2))
    assert torch.allclose(found.values, ours.values, rtol=1e-4, atol=1e-6)
    assert found.told == ours.told


def test_our_own_host_shows_the_same(graphs: Any, side: Any) -> None:
    in_comfyui = graphs.run(with_map(side, {"out": side.ours(1.0, model="watched")}), ("shown", 2))
    model, text, *_ = LoadModel.execute(side.CHECKPOINT, INSIDE, "float32").args
    watched, attention = RecordAttention.execute(model, **ASKED).args
    positive = EncodePrompt.execute(text, "a ball bounces").args[0]
    guider = Guider(model=watched, positive=positive, guidance=Streams(video=Guidance(), audio=Guidance()))
    latent = EmptyAVLatent.execute(model, 64, 64, 17, 24.0).args[0]
    sigmas = torch.tensor([float(word) for word in side.SIGMAS.split(",")])
    finished = run_stage(SeededNoise(5), guider, NamedRule(name="euler"), sigmas, latent)[0]
    found = ShowAttention.execute(attention, 0.5, latent=finished).args[2]
    assert torch.allclose(found.values, in_comfyui.values, rtol=1e-4, atol=1e-6)


def test_what_is_wrong_is_named_on_the_node(graphs: Any, side: Any) -> None:
    graph = with_map(side, {"out": side.ours(1.0, model="watched")}, block=99)
    assert "block: expected 0 to" in graphs.run(graph, ("shown", 2), expect="failed")
