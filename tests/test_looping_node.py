"""The looping sampler of ComfyUI's node pack, as a node."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from openltx.nodes.guide import NO_GUIDANCE, Guider
from openltx.nodes.latents import EmptyAVLatent, items_of, video_of, with_video_item
from openltx.nodes.load import INSIDE, LoadModel
from openltx.nodes.looping import SampleLooping
from openltx.nodes.noise import SeededNoise
from openltx.nodes.rules import NamedRule
from openltx.nodes.stage import run_stage
from openltx.samplers.conditioning import GivenStream, Keyframe, LatentGuide, LatentReplacement
from openltx.samplers.long_video import Loop, LoopCall, cross_fade, sample_looping
from openltx.training.embedded_config import CONTEXT_WIDTH

SIGMAS = torch.tensor([1.0, 0.6, 0.2, 0.0])
EULER = NamedRule(name="euler")
SETTINGS: dict[str, Any] = {
    "tile": 16,
    "overlap": 8,
    "overlap_strength": 0.5,
    "guide_strength": 1.0,
    "statistics": 0.0,
    "rows": 1,
    "columns": 1,
    "space_overlap": 1,
    "guide_first_step": 0,
    "guide_last_step": 0,
}


def _randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def guider() -> Guider:
    model = LoadModel.execute("openltx-tiny-2.3.safetensors", INSIDE, "float32").args[0]
    guidance: Any = NO_GUIDANCE
    return Guider(model=model, positive=[[_randn(1, 4, CONTEXT_WIDTH), {}]], guidance=guidance, mask_rule="community")


@pytest.fixture(scope="module")
def latent(guider: Guider) -> Any:
    """5 latent frames of 2x1 cells."""
    return EmptyAVLatent.execute(guider.model, 32, 64, 33, 24.0, "video only").args[0]


def _sample(guider: Guider, latent: Any, sigmas: Tensor = SIGMAS, **settings: Any) -> Tensor:
    with torch.inference_mode():
        made = SampleLooping.execute(SeededNoise(7), guider, EULER, sigmas, latent, **{**SETTINGS, **settings}).args[0]
    return video_of(made)


def test_tiles_follow_each_other_as_the_page_says(guider: Guider, latent: Any) -> None:
    """Tiles of 2 latent frames that share 1: seeds, guide, the frame that is dropped, all written out."""
    got = _sample(guider, latent)
    with torch.inference_mode():
        result = None
        for start in range(4):
            part = {**latent, "samples": latent["samples"][:, :, start : start + 2]}
            if result is not None:
                part = with_video_item(part, LatentGuide(latent=result[:, :, -1:], latent_index=0, strength=0.5))
            made = video_of(run_stage(SeededNoise(7 + start), guider, EULER, SIGMAS, part)[0])
            result = made if result is None else cross_fade(result, made[:, :, 1:], 0)
    assert result is not None
    assert torch.equal(got, result)
    assert got.shape == video_of(latent).shape


def test_a_schedule_split_by_guides_hands_on_clean_predictions(guider: Guider, latent: Any) -> None:
    guides = {"samples": _randn(1, 32, 5, 2, 1, seed=3)}
    whole, first, last = (
        _sample(guider, latent, guides=guides, guide_first_step=begin, guide_last_step=end)
        for begin, end in ((0, 0), (1, 0), (0, 2))
    )
    assert not torch.equal(whole, first)
    assert not torch.equal(whole, last)
    assert all(bool(made.isfinite().all()) for made in (whole, first, last))
    alone = _sample(guider, latent, tile=40)
    with torch.inference_mode():
        plain = video_of(run_stage(SeededNoise(7), guider, EULER, SIGMAS, latent)[0])
    assert torch.allclose(alone, plain, atol=1e-6), "one tile is the plain stage"


def test_pictures_of_the_latent_go_to_their_tiles(guider: Guider, latent: Any) -> None:
    picture = _randn(1, 32, 1, 2, 1, seed=4)
    pinned = with_video_item(latent, LatentReplacement(latent=picture, strength=1.0))
    got = _sample(guider, pinned)
    assert torch.allclose(got[:, :, :1], picture, atol=1e-6)
    later = with_video_item(latent, Keyframe(latent=picture, frame=20))
    assert not torch.equal(_sample(guider, later)[:, :, 2:], _sample(guider, latent)[:, :, 2:])
    assert torch.equal(_sample(guider, later)[:, :, :2], _sample(guider, latent)[:, :, :2])
    assert len(items_of(later).video or ()) == 1


@pytest.mark.parametrize("frame", range(33))
def test_a_picture_at_any_frame_finds_a_tile_that_has_it(frame: int) -> None:
    calls: list[LoopCall] = []

    def sample(call: LoopCall) -> Tensor:
        calls.append(call)
        return call.latent

    loop = Loop(tile=16, overlap=8, images={frame: torch.ones(1, 2, 1, 1, 1)})
    sample_looping(torch.zeros(1, 2, 5, 1, 1), loop, sample)
    bound = [
        8 * call.start + (item.frame if isinstance(item, Keyframe) else 0)
        for call in calls
        for item in call.items
        if isinstance(item, Keyframe | LatentReplacement)
    ]
    assert bound == [frame]
    assert all(item.frame <= 8 for call in calls for item in call.items if isinstance(item, Keyframe))


def test_spatial_tiles_and_prompts(guider: Guider, latent: Any) -> None:
    tall = EmptyAVLatent.execute(guider.model, 32, 96, 17, 24.0, "video only").args[0]
    tiled = _sample(guider, tall, rows=2)
    assert tiled.shape == video_of(tall).shape
    assert bool(tiled.isfinite().all())
    other = [[_randn(1, 4, CONTEXT_WIDTH, seed=9), {}]]
    prompts = [guider.positive[0], *other]
    one, two = _sample(guider, latent), _sample(guider, latent, prompts=prompts)
    assert torch.equal(one[:, :, :2], two[:, :, :2])
    assert not torch.equal(one[:, :, 2:], two[:, :, 2:])


def test_what_does_not_fit_is_one_line(guider: Guider, latent: Any) -> None:
    both = EmptyAVLatent.execute(guider.model, 32, 32, 33, 24.0).args[0]
    with pytest.raises(ValueError, match="expected video alone, found sound beside it; use Sample Long Clip"):
        _sample(guider, both)
    given = with_video_item(latent, GivenStream(latent=video_of(latent)))
    with pytest.raises(ValueError, match="looping: expected single pictures, found GivenStream"):
        _sample(guider, given)
    picture = _randn(1, 32, 1, 2, 1)
    mixed = with_video_item(latent, Keyframe(latent=picture, frame=3, strength=0.5))
    mixed = with_video_item(mixed, Keyframe(latent=picture, frame=5))
    with pytest.raises(ValueError, match=r"looping: expected pictures of one strength, found \[0\.5, 1\.0\]"):
        _sample(guider, mixed)
    with pytest.raises(ValueError, match="guides: expected a clip of 5 latent frames"):
        _sample(guider, latent, guides={"samples": _randn(1, 32, 4, 2, 1)})
    with pytest.raises(ValueError, match="looping: expected tile and overlap in multiples of 8"):
        _sample(guider, latent, tile=20)
    with pytest.raises(ValueError, match=r"steps: expected 0 <= first < last <= 3, found 0 and 9"):
        _sample(guider, latent, guides={"samples": _randn(1, 32, 5, 2, 1)}, guide_last_step=9)


def test_masks_by_the_official_rule_work_too(guider: Guider, latent: Any) -> None:
    official = _sample(replace(guider, mask_rule="official"), latent)
    assert bool(official.isfinite().all())
    assert not torch.equal(official, _sample(guider, latent)), "the overlap has strength 0.5"
