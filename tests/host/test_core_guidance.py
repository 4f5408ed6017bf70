"""ComfyUI's own guidance of sound and picture on our MODEL: it asks for passes that skip something, in its words."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch

TEXTS: dict[str, Any] = {"positive": ["rate", 0], "negative": ["rate", 1]}
PLAIN = {"cfg": 3.0, "stg": 0.0, "stg_blocks": "1", "modality": 1.0, "rescale": 0.0, "skip": 0, "text_rule": "cfg"}
RANGE = {"start_percent": 0.0, "end_percent": 1.0}
PATCHES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "LTXVModalityGuidance": ({"modality_scale": 3.0, **RANGE}, {"modality": 3.0}),
    "LTXVSpatioTemporalGuidance": ({"scale": 1.5, "blocks": "1", **RANGE}, {"stg": 1.5}),
    "LTXVDualCFGGuider": ({"video_cfg": 3.0, "audio_cfg": 5.0}, {}),
}


def with_ours(side: Any, **changes: Any) -> dict[str, Any]:
    graph = {**side.stage(), "how": side.node("OpenLTXStreamGuidance", **{**PLAIN, **changes})}
    graph["louder"] = side.node("OpenLTXStreamGuidance", **{**PLAIN, **changes, "cfg": 5.0 if not changes else 3.0})
    guidance: dict[str, Any] = {"video": ["how", 0], "audio": ["louder", 0]}
    graph["guider"] = side.node("OpenLTXGuider", model=["load", 0], **TEXTS, **guidance)
    return {**graph, "out": side.advanced()}


@pytest.mark.parametrize("name", PATCHES)
def test_guidance_of_newer_hosts_is_ours(graphs: Any, side: Any, name: str) -> None:
    if name not in importlib.import_module("nodes").NODE_CLASS_MAPPINGS:
        pytest.skip(f"this ComfyUI has no node {name}")
    theirs, ours = PATCHES[name]
    expected = graphs.run(with_ours(side, **ours), ("out", 0))["samples"].unbind()
    graph = {**side.stage(), "patch": side.node(name, model=["load", 0], **theirs)}
    if name.endswith("Guider"):
        graph["patch"]["inputs"] |= TEXTS
        graph["out"] = side.advanced(guider="patch")
    else:
        graph |= side.cores(3.0, model="patch")
    found = graphs.run(graph, ("out", 0))["samples"].unbind()
    plain = graphs.run({**side.stage(), **side.cores(3.0)}, ("out", 0))["samples"].unbind()
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-3)
    assert not all(torch.allclose(one, without, atol=1e-2) for one, without in zip(found, plain, strict=True))


def test_its_words_are_read_in_every_host(graphs: Any, side: Any) -> None:
    """Streams that do not hear each other: the picture is what it is alone."""
    model, latent, positive = graphs.run(side.stage(), ("load", 0), ("empty", 0), ("rate", 0))
    samplers = importlib.import_module("comfy.samplers")

    def sampled(samples: Any, **words: Any) -> Any:
        patched = model.clone()
        patched.model_options["transformer_options"] |= words
        guider = samplers.CFGGuider(patched)
        guider.set_conds(positive, positive)
        guider.set_cfg(1.0)
        noise = importlib.import_module("comfy.sample").prepare_noise(samples, 3)
        with torch.inference_mode():
            return guider.sample(noise, samples, samplers.ksampler("euler"), torch.tensor([1.0, 0.5, 0.0]))

    apart = sampled(latent["samples"], a2v_cross_attn=False, v2a_cross_attn=False).unbind()
    together = sampled(latent["samples"]).unbind()
    alone = sampled(latent["samples"].unbind()[0])
    assert torch.allclose(apart[0], alone, atol=1e-4)
    assert not torch.allclose(together[0], alone, atol=1e-3)
    skipped = sampled(latent["samples"], stg_self_attn_blocks=frozenset({0, 99})).unbind()
    assert not torch.allclose(skipped[0], together[0], atol=1e-3)
