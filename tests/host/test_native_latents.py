"""LATENT and CONDITIONING of ComfyUI's LTX nodes in our samplers, and ours in theirs (spec sampling.md 9.2)."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch

TOLERANCE = 2e-5


def samples(latent: Any) -> list[torch.Tensor]:
    found: list[torch.Tensor] = latent["samples"].unbind()
    return found


def worst(found: Any, expected: Any) -> float:
    pairs = zip(samples(found), samples(expected), strict=True)
    return max(float((one - other).abs().max()) for one, other in pairs)


def both_samplers(side: Any, latent: str) -> dict[str, Any]:
    """Their sampler with guidance 3, and ours."""
    ours = side.ours(3.0)
    ours["inputs"]["latent"] = [latent, 0]
    return side.cores(3.0, latent=latent) | {"ours": ours}  # type: ignore[no-any-return]


def test_join_and_split_of_both_are_the_same(graphs: Any, side: Any) -> None:
    graph = {**side.stage(), "first": side.ours()}
    graph["theirs"] = side.node("LTXVSeparateAVLatent", av_latent=["first", 0])
    graph["ours"] = side.node("OpenLTXSplitAV", latent=["first", 0])
    graph["join"] = side.node("OpenLTXJoinAV", video=["theirs", 0], audio=["theirs", 1])
    graph["concat"] = side.node("LTXVConcatAVLatent", video_latent=["ours", 0], audio_latent=["ours", 1])
    first, join, concat = graphs.run(graph, ("first", 0), ("join", 0), ("concat", 0))
    assert worst(join, first) == 0
    assert worst(concat, first) == 0
    assert type(join["samples"]) is type(concat["samples"])


def test_conditioning_items_survive_their_join(graphs: Any, side: Any) -> None:
    """A picture for the video and a given sound: both items are still there after split and concat."""
    graph = side.stage()
    graph["picture"] = side.node("EmptyImage", width=64, height=64, batch_size=1, color=8421504)
    image: dict[str, Any] = {"frame": 0, "strength": 1.0, "placement": "recipe", "crf": 0}
    links: dict[str, Any] = {"latent": ["empty", 0], "video_vae": ["load", 2], "image": ["picture", 0]}
    graph["item"] = side.node("OpenLTXConditionImage", **image, **links)
    graph["split"] = side.node("OpenLTXSplitAV", latent=["item", 0])
    graph["frozen"] = side.node("OpenLTXFreezeStream", latent=["split", 1], stream="audio")
    graph["concat"] = side.node("LTXVConcatAVLatent", video_latent=["split", 0], audio_latent=["frozen", 0])
    items = importlib.import_module("openltx_in_comfyui.nodes.latents").items_of(graphs.run(graph, ("concat", 0)))
    assert len(items.video) == 1
    assert len(items.audio) == 1
    graph["seed"] = side.node("OpenLTXNoise", noise_seed=5)
    graph |= side.cores(latent="concat")
    graph["out"]["inputs"]["noise"] = ["seed", 0]
    text = graphs.run(graph, ("out", 0), expect="failed")
    assert "expected no conditioning items of OpenLTX for ComfyUI's samplers, found some; use Sample Stage" in text


def test_a_binary_mask_means_the_same_in_both_samplers(graphs: Any, side: Any) -> None:
    """A rectangle of the picture is made anew, and part of the sound."""
    graph = {**side.stage(), "first": side.ours(seed=11)}
    latent = graphs.run(graph, ("first", 0))
    video, audio = samples(latent)
    masks = [torch.zeros(1, 1, *video.shape[2:]), torch.zeros(1, 1, audio.shape[2], 1)]
    masks[0][:, :, 1:, 0] = 1
    masks[1][:, :, 3:9] = 1
    nested = type(latent["samples"])(masks)
    side.Capture.given = {**latent, "noise_mask": nested}
    graph = {**side.stage(), "given": side.node("Given"), **both_samplers(side, "given")}
    theirs, ours = graphs.run(graph, ("out", 0), ("ours", 0))
    assert worst(ours, theirs) < TOLERANCE
    assert torch.equal(samples(ours)[0][:, :, 0], video[:, :, 0])
    assert not torch.allclose(samples(ours)[0], video, atol=1e-2)


def test_sound_given_by_a_mask_drives_the_picture_alike(graphs: Any, side: Any) -> None:
    graph = {**side.stage(), "first": side.ours(seed=11)}
    graph["split"] = side.node("LTXVSeparateAVLatent", av_latent=["first", 0])
    graph["zero"] = side.node("SolidMask", value=0.0, width=16, height=8)
    graph["kept"] = side.node("SetLatentNoiseMask", samples=["split", 1], mask=["zero", 0])
    graph["fresh"] = side.node("OpenLTXSplitAV", latent=["empty", 0])
    graph["join"] = side.node("LTXVConcatAVLatent", video_latent=["fresh", 0], audio_latent=["kept", 0])
    ours = side.ours(1.0)
    ours["inputs"]["latent"] = ["join", 0]
    graph |= side.cores(1.0, latent="join") | {"ours": ours}
    theirs, found = graphs.run(graph, ("out", 0), ("ours", 0))
    assert worst(found, theirs) < TOLERANCE


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_guide_frames_mean_the_same_in_both_samplers(graphs: Any, side: Any, strength: float) -> None:
    """Added by ComfyUI's own arithmetic (its node is for 128 channels); attention follows the strength."""
    add = importlib.import_module("nodes").NODE_CLASS_MAPPINGS["LTXVAddGuide"]
    latent, positive, negative = graphs.run(side.stage(), ("empty", 0), ("rate", 0), ("rate", 1))
    video, audio = samples(latent)
    guide = torch.randn(1, video.shape[1], 1, *video.shape[3:], generator=torch.Generator().manual_seed(2))
    mask = torch.ones(1, 1, video.shape[2], 1, 1)
    options = {"in_channels": video.shape[1]}
    positive, negative, video, mask = add.append_keyframe(
        positive, negative, 8, video, mask, guide, 1.0, (8, 32, 32), **options
    )
    entry = {"pre_filter_count": 4, "strength": strength, "pixel_mask": None, "latent_shape": [1, 2, 2]}
    for prompt in (positive, negative):  # the node has copied them
        prompt[0][1]["guide_attention_entries"] = [entry]
    nested = type(latent["samples"])
    masks = nested([mask, torch.ones(1, 1, audio.shape[2], 1)])
    side.Capture.given = {**latent, "samples": nested([video, audio]), "noise_mask": masks}
    graph = {**side.stage(), "given": side.node("Given"), **both_samplers(side, "given")}
    side.Capture.prompts = (positive, negative)
    graph["rate"] = side.node("GivenPrompts")
    theirs, ours = graphs.run(graph, ("out", 0), ("ours", 0))
    assert worst(ours, theirs) < TOLERANCE
    assert samples(ours)[0].shape[2] == samples(latent)[0].shape[2] + 1  # LTXVCropGuides takes it off
    assert torch.allclose(samples(ours)[0][:, :, -1], guide[:, :, 0])
    graph["crop"] = side.node("LTXVCropGuides", positive=["rate", 0], negative=["rate", 1], latent=["split", 0])
    graph["split"] = side.node("OpenLTXSplitAV", latent=["ours", 0])
    assert graphs.run(graph, ("crop", 2))["samples"].shape == samples(latent)[0].shape


def test_a_reference_voice_means_the_same_in_both_samplers(graphs: Any, side: Any) -> None:
    latent, positive, negative = graphs.run(side.stage(), ("empty", 0), ("rate", 0), ("rate", 1))
    audio = samples(latent)[1]
    tokens = torch.randn(1, 5, audio.shape[1] * audio.shape[3], generator=torch.Generator().manual_seed(3))
    positive, negative = (
        [[prompt[0][0], {**prompt[0][1], "ref_audio": {"tokens": tokens}}]] for prompt in (positive, negative)
    )
    side.Capture.given, side.Capture.prompts = latent, (positive, negative)
    graph = {**side.stage(), "given": side.node("Given"), **both_samplers(side, "given")}
    plain = graphs.run({**graph}, ("ours", 0))
    graph["rate"] = side.node("GivenPrompts")
    theirs, ours = graphs.run(graph, ("out", 0), ("ours", 0))
    assert worst(ours, theirs) < TOLERANCE
    assert worst(ours, plain) > 100 * TOLERANCE


def test_text_features_without_connectors(graphs: Any, side: Any) -> None:
    """What ComfyUI's text encoder gives: the model runs the connectors, in its samplers and in ours."""
    clip, positive, negative = graphs.run(side.stage(), ("load", 1), ("rate", 0), ("rate", 1))
    encoder = clip.cond_stage_model.encoder
    prompts = []
    with torch.inference_mode():
        for text, (_, options) in (("a ball bounces", positive[0]), ("blurry", negative[0])):
            ids = torch.tensor([encoder.tokenize(text)])
            features = encoder.projection(encoder.decoder.hidden_states(ids), torch.ones_like(ids))
            prompts.append([[torch.cat(features, dim=-1), {**options, "unprocessed_ltxav_embeds": True}]])
    side.Capture.prompts, side.Capture.given = tuple(prompts), graphs.run(side.stage(), ("empty", 0))
    graph = {**side.stage(), "given": side.node("Given"), **both_samplers(side, "given")}
    expected = graphs.run(graph, ("ours", 0))
    graph["rate"] = side.node("GivenPrompts")
    theirs, ours = graphs.run(graph, ("out", 0), ("ours", 0))
    assert worst(ours, expected) < TOLERANCE
    assert worst(theirs, expected) < TOLERANCE


def test_rates_that_contradict_each_other_are_refused(graphs: Any, side: Any) -> None:
    graph = side.stage()
    graph["rate"]["inputs"]["frame_rate"] = 25.0
    text = graphs.run({**graph, "out": side.ours()}, ("out", 0), expect="failed")
    assert "frame rate: expected 24 a second as in the latent, found 25 in the conditioning; set both alike" in text
