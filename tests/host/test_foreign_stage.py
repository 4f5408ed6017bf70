"""Our samplers, conditioning items, long clips and manifest on ComfyUI's own LTX-2 model.

The same weights in our network and our samplers say what should come out.
"""

from __future__ import annotations

import importlib
import json
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

MADE = "openltx_made"
packed_weights = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("packed_weights.py"))))


@pytest.fixture(scope="module")
def stage(comfyui_base: Path, side: Any, foreign: Any) -> dict[str, Any]:
    found: dict[str, Any] = foreign.stage_of(comfyui_base, side)
    size = {"width": 64, "height": 64, "frame_rate": 24.0}

    return {
        **found,
        "picture": side.node("EmptyImage", width=64, height=64, batch_size=1, color=0x3366CC),
        "clip": side.node("EmptyImage", width=64, height=64, batch_size=17, color=0xCC6633),
        "long": side.node("OpenLTXEmptyAVLatent", model=["load", 0], frames=33, **size),
        "silent": side.node("OpenLTXEmptyAVLatent", model=["load", 0], frames=33, streams="video only", **size),
        "heard": side.node("OpenLTXEmptyAVLatent", model=["load", 0], frames=33, streams="audio only", **size),
        "source": side.ours(),
        "seeded": side.node("OpenLTXNoise", noise_seed=5),
    }


def both(graphs: Any, side: Any, foreign: Any, stage: Any, make: Any, bar: float = 2e-2) -> Any:
    """What `make(model)` gives on ComfyUI's network, checked against our network; skips where those differ anyway."""
    plain = [graphs.run({**stage, **foreign.staged(side, model)}, ("out", 0)) for model in ("theirs", "load")]
    if not foreign.close(*map(foreign.members, plain)):
        pytest.skip("this ComfyUI's own network computes other numbers than ours, without anything of ours")
    found, expected = (graphs.run({**stage, **make(model)}, ("out", 0)) for model in ("theirs", "load"))
    assert foreign.close(foreign.members(found), foreign.members(expected), bar)
    return found, expected, plain[0]


def test_our_stage_is_their_sampler(graphs: Any, side: Any, foreign: Any, stage: Any) -> None:
    """Two loops around one network and one guidance."""
    theirs = {**stage, **foreign.guided(side, "theirs")}
    expected = graphs.run(theirs, ("out", 0))["samples"].unbind()
    found = graphs.run({**stage, **foreign.staged(side, "theirs")}, ("out", 0))["samples"].unbind()
    assert foreign.close(found, expected, 1e-5)
    one_node = graphs.run({**stage, "out": side.ours(3.0, model="theirs")}, ("out", 0))["samples"].unbind()
    assert foreign.close(one_node, expected, 1e-5)


VIDEO_VAE: dict[str, Any] = {"video_vae": ["load", 2]}
CLIP: dict[str, Any] = {"images": ["clip", 0], **VIDEO_VAE}
ITEMS: dict[str, tuple[str, dict[str, Any]]] = {
    "first frame": ("OpenLTXConditionImage", {"frame": 0, "strength": 0.7}),
    "last frame": ("OpenLTXConditionImage", {"frame": 16, "strength": 1.0}),
    "retake": ("OpenLTXConditionRetake", {"start": 0.2, "end": 0.5, "streams": "video and audio"}),
    "picture kept": ("OpenLTXConditionRetake", {"start": 0.2, "end": 0.5, "streams": "audio"}),
    "reference": ("OpenLTXConditionReference", {"strength": 1.0, "attention": 0.5}),
    "voice": ("OpenLTXReferenceVoice", {"strength": 1.0}),
}


@pytest.mark.parametrize("name", ITEMS)
@pytest.mark.parametrize("rule", ["official", "community"])
def test_conditioning_items(graphs: Any, side: Any, foreign: Any, stage: Any, name: str, rule: str) -> None:
    kind, options = ITEMS[name]
    wires: dict[str, dict[str, Any]] = {
        "OpenLTXConditionImage": {"image": ["picture", 0], **VIDEO_VAE, "placement": "recipe", "crf": 0},
        "OpenLTXConditionReference": {**CLIP, "space_factor": 1, "time_factor": 1},
        "OpenLTXReferenceVoice": {"reference": ["source", 0]},
    }
    source = "source" if kind == "OpenLTXConditionRetake" else "empty"
    item = side.node(kind, latent=[source, 0], **wires.get(kind, {}), **options)

    def made(model: str) -> dict[str, Any]:
        graph: dict[str, Any] = foreign.staged(side, model, latent="item")
        graph["ruled"] = side.node("OpenLTXMaskRule", guider=["guider", 0], rule=rule)
        graph["out"]["inputs"]["guider"] = ["ruled", 0]
        return {**graph, "item": item}

    found, _, plain = both(graphs, side, foreign, stage, made)
    assert not foreign.close(foreign.members(found), foreign.members(plain), 1e-3)


def test_a_changed_step_rule(graphs: Any, side: Any, foreign: Any, stage: Any) -> None:
    """Steady Steps over Scale Steps, with a picture that is given and must stay as it is."""

    def made(model: str) -> dict[str, Any]:
        graph: dict[str, Any] = foreign.staged(side, model, latent="item", sampler="steady")
        picture = {"image": ["picture", 0], **VIDEO_VAE, "placement": "recipe", "crf": 0, "frame": 0, "strength": 1.0}
        graph["item"] = side.node("OpenLTXConditionImage", latent=["empty", 0], **picture)
        graph["scaled"] = side.node("OpenLTXScaleSteps", sampler=["rule", 0], video_factors="", audio_factors="1, 0.5")
        target = {"mean": 0.0, "std": 1.0, "percentile": 95.0, "video_factors": "0.9, 0", "audio_factors": "0.5"}
        graph["steady"] = side.node("OpenLTXSteadySteps", sampler=["scaled", 0], **target)
        return graph

    found, expected, plain = both(graphs, side, foreign, stage, made)
    assert not foreign.close(foreign.members(found), foreign.members(plain), 1e-2)
    first, given = (foreign.members(latent)[0][:, :, 0] for latent in (found, expected))
    assert torch.equal(first, given)


@pytest.mark.parametrize(("sound", "bar"), [(0.2, 5e-2), (0.6, 1.0)])
def test_a_long_clip(
    graphs: Any, side: Any, foreign: Any, stage: Any, sound: float, bar: float, caplog: pytest.LogCaptureFixture
) -> None:
    """Each segment builds on the one before, so that differences of the two networks grow.

    Sound that reaches back before a segment stands a little elsewhere there, and it says so.
    """

    def made(model: str) -> dict[str, Any]:
        graph: dict[str, Any] = foreign.staged(side, model)
        pieces: dict[str, Any] = {"guider": ["guider", 0], "sampler": ["rule", 0], "sigmas": ["sigmas", 0]}
        how = {"segment_seconds": 0.8, "overlap_seconds": 0.4, "audio_overlap_seconds": sound, "overlap_strength": 0.5}
        how |= {"audio_strength": 1.0, "drift_control": 0.0}
        graph["out"] = side.node("OpenLTXSampleLong", noise=["seeded", 0], latent=["long", 0], **pieces, **how)
        return graph

    found, _, _ = both(graphs, side, foreign, stage, made, bar)
    assert len(found[MADE]) > 1
    assert ("sound before the clip stands" in caplog.text) == (sound > 0.4)
    assert {step["model"] for step in found[MADE]} == {"tiny-for-comfyui.safetensors"}


def test_looping_video_alone(graphs: Any, side: Any, foreign: Any, stage: Any) -> None:
    """Without sound: ComfyUI's network computes a picture that hears nothing."""

    def made(model: str) -> dict[str, Any]:
        graph: dict[str, Any] = foreign.staged(side, model)
        pieces: dict[str, Any] = {"guider": ["guider", 0], "sampler": ["rule", 0], "sigmas": ["sigmas", 0]}
        how = {"tile": 16, "overlap": 8, "overlap_strength": 0.5, "guide_strength": 1.0, "statistics": 0.0}
        how |= {"rows": 1, "columns": 1, "space_overlap": 1, "guide_first_step": 0, "guide_last_step": 0}
        graph["out"] = side.node("OpenLTXSampleLooping", noise=["seeded", 0], latent=["silent", 0], **pieces, **how)
        return graph

    both(graphs, side, foreign, stage, made)


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_guides_of_their_nodes_in_our_stage(graphs: Any, side: Any, foreign: Any, stage: Any, strength: float) -> None:
    """Appended as LTXVAddGuide does (that node is for 128 channels), beside a mask over the time of the sound."""
    add = importlib.import_module("nodes").NODE_CLASS_MAPPINGS["LTXVAddGuide"]
    latent, positive, negative = graphs.run(stage, ("source", 0), ("rate", 0), ("rate", 1))
    video, audio = latent["samples"].unbind()
    guide = torch.randn(1, video.shape[1], 1, *video.shape[3:], generator=torch.Generator().manual_seed(2))
    mask = torch.ones(1, 1, video.shape[2], 1, 1)
    options = {"in_channels": video.shape[1]}
    positive, negative, video, mask = add.append_keyframe(
        positive, negative, 8, video, mask, guide, 1.0, (8, 32, 32), **options
    )
    entry = {"pre_filter_count": 4, "strength": strength, "pixel_mask": None, "latent_shape": [1, 2, 2]}
    for prompt in (positive, negative):
        prompt[0][1]["guide_attention_entries"] = [entry]
    heard = torch.ones(1, 1, audio.shape[2], 1)
    heard[:, :, :6] = 0
    nested = type(latent["samples"])
    side.Capture.given = {**latent, "samples": nested([video, audio]), "noise_mask": nested([mask, heard])}
    side.Capture.prompts = (positive, negative)
    graph = {**stage, "given": side.node("Given"), "rate": side.node("GivenPrompts")}
    theirs = foreign.guided(side, "theirs")
    theirs["out"] = side.advanced(latent="given")
    expected = graphs.run({**graph, **theirs}, ("out", 0))
    found = graphs.run({**graph, **foreign.staged(side, "theirs", latent="given")}, ("out", 0))
    assert foreign.close(foreign.members(found), foreign.members(expected), 1e-5)
    assert torch.allclose(foreign.members(found)[0][:, :, -1], guide[:, :, 0], atol=1e-5)
    assert torch.allclose(foreign.members(found)[1][:, :, :6], audio[:, :, :6], atol=1e-5)


def test_tiles_that_are_runs_of_their_own(graphs: Any, side: Any, foreign: Any, stage: Any) -> None:
    def made(model: str) -> dict[str, Any]:
        graph: dict[str, Any] = foreign.staged(side, model)
        pieces: dict[str, Any] = {"guider": ["guider", 0], "sampler": ["rule", 0], "sigmas": ["low", 0]}
        how = {"rows": 1, "columns": 2, "overlap": 0, "time_tiles": 1, "time_overlap": 0}
        graph["low"] = side.node("OpenLTXNamedSchedule", schedule="manual", steps=1, values="0.5, 0.0")
        graph["out"] = side.node("OpenLTXSampleTiles", noise=["seeded", 0], latent=["source", 0], **pieces, **how)
        return graph

    both(graphs, side, foreign, stage, made)


def test_sound_alone(graphs: Any, side: Any, foreign: Any, stage: Any) -> None:
    both(graphs, side, foreign, stage, lambda model: foreign.staged(side, model, latent="heard"))


def test_what_a_stage_cannot_do_on_it_is_named(graphs: Any, side: Any, foreign: Any, stage: Any) -> None:
    graph = {**stage, **foreign.staged(side, "theirs")}
    graph["tiled"] = side.node(
        "OpenLTXTiledGuider", guider=["guider", 0], rows=1, columns=2, overlap=0, time_tiles=1, time_overlap=0
    )
    graph["out"]["inputs"]["guider"] = ["tiled", 0]
    assert "guider: expected one without tiles" in graphs.run(graph, ("out", 0), expect="failed")


def test_the_manifest_says_what_ran(graphs: Any, side: Any, foreign: Any, stage: Any) -> None:
    """The file, where ComfyUI's loader names it; else a digest of some weights, which another weight changes."""
    latent, model = graphs.run({**stage, **foreign.staged(side, "theirs")}, ("out", 0), ("theirs", 0))
    (step,) = latent[MADE]
    assert step["loaded"] == "by ComfyUI or another pack (LTXAV), not by us"
    assert step["model"] == "tiny-for-comfyui.safetensors"
    assert step["attention"] == "ComfyUI's"
    assert len(step["file"]["sampled_sha256"]) == 64
    json.dumps(step)
    identity = importlib.import_module("openltx_in_comfyui.nodes.host.comfyui.foreign").identity
    unnamed = model.clone()
    unnamed.cached_patcher_init = None
    told = identity(unnamed)
    assert told["model"] == "ComfyUI's LTXAV"
    assert "file" not in told
    assert told["weights_digest"] == identity(unnamed)["weights_digest"]
    name = sorted(name for name, _ in unnamed.model.named_parameters())[0]
    weight = unnamed.model.get_parameter(name)
    with torch.inference_mode():
        weight += 1
        changed = identity(unnamed)["weights_digest"]
        weight -= 1
    assert changed != told["weights_digest"]


class PackedModel:
    """ComfyUI's own model with layers of another pack, as its loaders of quantised files make one."""

    CATEGORY, FUNCTION, RETURN_TYPES = "test", "load", ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"name": ("STRING",)}}

    def load(self, name: str) -> tuple[Any]:
        import comfy.sd
        import folder_paths

        tensors, metadata = importlib.import_module("comfy.utils").load_torch_file(
            folder_paths.get_full_path_or_raise("diffusion_models", name), return_metadata=True
        )
        options = {"custom_operations": packed_weights.operations()}
        return (comfy.sd.load_diffusion_model_state_dict(tensors, model_options=options, metadata=metadata),)


def test_packed_weights_of_another_pack(graphs: Any, side: Any, foreign: Any, stage: Any) -> None:
    """As GGUF's: nothing of ours looks into the weights. The manifest has a digest, as no file is named."""
    importlib.import_module("nodes").NODE_CLASS_MAPPINGS["PackedModel"] = PackedModel
    graph = {**stage, "packed": side.node("PackedModel", name=foreign.NAME)}
    model = graphs.run(graph, ("packed", 0))
    weight = model.model.diffusion_model.transformer_blocks[0].attn1.to_q.weight
    assert weight.data.dtype == torch.uint8
    expected = graphs.run({**graph, **foreign.guided(side, "packed")}, ("out", 0))["samples"].unbind()
    latent = graphs.run({**graph, **foreign.staged(side, "packed")}, ("out", 0))
    assert foreign.close(foreign.members(latent), expected, 1e-5)
    plain = graphs.run({**stage, **foreign.staged(side, "theirs")}, ("out", 0))
    assert foreign.close(foreign.members(latent), foreign.members(plain), 0.3)
    assert not foreign.close(foreign.members(latent), foreign.members(plain), 1e-5)
    (step,) = latent[MADE]
    assert step["model"] == "ComfyUI's LTXAV"
    assert len(step["weights_digest"]) == 64
    pieces: dict[str, Any] = {"noise": ["seeded", 0], "guider": ["guider", 0], "sampler": ["rule", 0]}
    how = {"segment_seconds": 0.8, "overlap_seconds": 0.4, "audio_overlap_seconds": 0.2, "overlap_strength": 0.5}
    how |= {"audio_strength": 1.0, "drift_control": 0.0}
    long = side.node("OpenLTXSampleLong", sigmas=["sigmas", 0], latent=["long", 0], **pieces, **how)
    found = graphs.run({**graph, **foreign.staged(side, "packed"), "clip": long}, ("clip", 0))
    assert all(bool(member.isfinite().all()) for member in foreign.members(found))
