"""Preset `community`: ComfyUI's containers become our states and come back, and its mask rule is its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from openltx.samplers.community import (
    ChannelApg,
    CommunityDenoiser,
    CommunityLatent,
    GuideAttention,
    SpatialPlan,
    blend_curve,
    blend_spatial,
    community_latent,
    community_noised,
    community_states,
    curve_in_pixels,
    dilate_guide,
    grow_mask,
    inpaint_clip,
    latent_mask_frames,
    sample_spatial_tiles,
    time_mask,
)
from openltx.samplers.conditioning import ConditioningItem, Keyframe, LatentGuide, ReferenceAudio, apply_items
from openltx.samplers.denoiser import Denoiser
from openltx.samplers.guidance import Apg, Guidance, Pass
from openltx.samplers.shapes import VideoGrid
from openltx.samplers.state import StreamState, audio_state, noised, video_state
from openltx.samplers.steps import sample_euler
from openltx.samplers.streams import Streams
from openltx.samplers.tokens import patchify_video

SIGMAS = torch.tensor([1.0, 0.6, 0.2, 0.0])


def _randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _keyframe_idxs(frame: int, height: int, width: int) -> Tensor:
    """Of one picture, int64 (1, 3, height * width, 2)."""
    rows, columns = torch.meshgrid(torch.arange(height) * 32, torch.arange(width) * 32, indexing="ij")
    starts = torch.stack([torch.full((height * width,), frame), rows.flatten(), columns.flatten()])
    ends = starts + torch.tensor([1, 32, 32])[:, None]
    return torch.stack([starts, ends], dim=-1)[None]


def _latent(frames: int = 4, **options: object) -> CommunityLatent:
    samples = Streams(video=_randn(1, 5, frames, 2, 3), audio=_randn(1, 2, 9, 4, seed=1))
    return CommunityLatent(samples=samples, frame_rate=24.0, **options)  # type: ignore[arg-type]


def test_a_guide_at_the_end_is_our_keyframe() -> None:
    container = _latent(keyframe_idxs=_keyframe_idxs(8, 2, 3))
    found = community_states(container).states.video
    assert found is not None
    video = container.samples.video
    assert video is not None
    ours = Keyframe(latent=video[:, :, 3:], frame=8).apply(video_state(video[:, :, :3], 24.0))
    assert torch.equal(found.positions, ours.positions)
    assert torch.equal(found.clean, ours.clean)
    assert found.grid_tokens == ours.grid_tokens == 18
    assert found.keyframe_marks is not None
    assert ours.keyframe_marks is not None
    assert torch.equal(found.keyframe_marks, ours.keyframe_marks)


def test_what_goes_in_comes_out() -> None:
    container = _latent(keyframe_idxs=_keyframe_idxs(8, 2, 3), reference_audio=_randn(1, 2, 3, 4, seed=5))
    states = community_states(container)
    back = states.samples(states.tokens(container.samples))
    for one, other in zip(container.samples.present(), back.present(), strict=True):
        assert torch.equal(one, other)
    audio = states.states.audio
    assert audio is not None
    assert audio.latent.shape[1] == 12
    assert bool((audio.positions[0, 0, 9:, 1] < 0).all())
    expected = ReferenceAudio(latent=container.reference_audio).apply(  # type: ignore[arg-type]
        audio_state(container.samples.audio)  # type: ignore[arg-type]
    )
    assert torch.equal(audio.positions, expected.positions)
    assert torch.equal(audio.mask, expected.mask)
    alone = community_states(CommunityLatent(samples=Streams(audio=container.samples.audio)))
    assert alone.states.video is None
    assert alone.kept is None


def test_masks_are_resized_and_empty_cells_are_not_seen() -> None:
    spread, mask = dilate_guide(_randn(1, 5, 1, 1, 3, seed=2), rows=2, columns=1)
    assert mask.flatten().tolist() == [1, 1, 1, -1, -1, -1]
    base = _latent(3)
    assert base.samples.video is not None
    container = replace(
        base,
        samples=Streams(video=torch.cat([base.samples.video, spread], dim=2), audio=base.samples.audio),
        noise_mask=Streams(
            video=torch.cat([torch.ones(1, 1, 3, 2, 3), mask - 1], dim=2), audio=torch.zeros(1, 1, 3, 1)
        ),
        keyframe_idxs=_keyframe_idxs(0, 2, 3),
        guide_attention=(
            GuideAttention(tokens=6, strength=0.5, grid=VideoGrid(1, 1, 3), mask=torch.ones(1, 1, 1, 8, 9)),
        ),
    )
    states = community_states(container)
    assert states.kept is not None
    assert states.kept.tolist() == [*range(18), 18, 19, 20]
    seen = states.seen.video
    assert seen is not None
    assert seen.attention is not None
    assert seen.attention.weights[0, 18:].tolist() == [0.5] * 3
    assert states.states.audio is not None
    assert states.states.audio.mask.shape == (1, 9, 1)
    with pytest.raises(ValueError, match="the grid of a masked guide of 3 tokens"):
        community_states(replace(container, guide_attention=(replace(container.guide_attention[0], grid=None),)))


def test_guides_see_each_other_and_entries_must_fit() -> None:
    twice = torch.cat([_keyframe_idxs(0, 2, 3), _keyframe_idxs(9, 2, 3)], dim=2)
    both = (GuideAttention(tokens=6, strength=0.5), GuideAttention(tokens=6, strength=0.25))
    video = community_states(_latent(5, keyframe_idxs=twice, guide_attention=both)).states.video
    assert video is not None
    assert video.attention is not None
    strength = video.attention.dense()[0]
    assert bool((strength[18:, 18:] == 1).all())
    assert bool((strength[:18, 18:24] == 0.5).all())
    assert bool((strength[24:, :18] == 0.25).all())
    with pytest.raises(ValueError, match="entries for 12 guide tokens, found 6"):
        community_states(_latent(5, keyframe_idxs=twice, guide_attention=both[:1]))
    with pytest.raises(ValueError, match="whole guide frames of 2x3 cells"):
        community_states(_latent(keyframe_idxs=twice[:, :, :5]))
    with pytest.raises(ValueError, match="fewer than the latent's 2 frames"):
        community_states(_latent(2, keyframe_idxs=twice))


def test_options_of_a_conditioning_are_read() -> None:
    samples = _latent().samples
    entry = {"pre_filter_count": 6, "strength": 1.5, "pixel_mask": None, "latent_shape": [1, 2, 3]}
    options = {
        "keyframe_idxs": _keyframe_idxs(8, 2, 3),
        "guide_attention_entries": [entry],
        "ref_audio": {"tokens": _randn(1, 3, 8)},
    }
    found = community_latent(samples, Streams(), options)
    assert found.frame_rate == 25.0
    assert found.reference_audio is not None
    assert found.reference_audio.shape == (1, 2, 3, 4)
    video = community_states(found).states.video
    assert video is not None
    assert video.attention is not None
    assert video.attention.weights[0, 18:].tolist() == [1.5] * 6
    with pytest.raises(ValueError, match="ref_audio: expected a latent with sound"):
        community_latent(Streams(video=samples.video), Streams(), options)


class _Toy:
    """v = tanh(x) + t, and what it was told."""

    def __init__(self) -> None:
        self.sigmas: list[Streams[Tensor]] = []

    def __call__(
        self,
        passes: Sequence[Pass],
        latents: Streams[Tensor],
        timesteps: Streams[Tensor],
        sigmas: Streams[Tensor],
        /,
    ) -> list[Streams[Tensor]]:
        self.sigmas.append(sigmas)
        return [latents.map(lambda x, t: torch.tanh(x) + t, timesteps) for _ in passes]


def _runs(mask: float) -> tuple[Tensor, Tensor]:
    """The same stage by the official and by ComfyUI's rule."""
    content = _randn(1, 5, 3, 2, 3)
    state = replace(video_state(content, 24.0), mask=torch.ones(1, 18, 1))
    state.mask[:, :6] = mask
    noise = _randn(1, 18, 5, seed=1)
    results = []
    for start, denoiser in ((noised, Denoiser), (community_noised, CommunityDenoiser)):
        states: Streams[StreamState] = Streams(video=start(state, noise, SIGMAS[0]))
        denoise = denoiser(states, Streams(video=Guidance()), _Toy())
        done = sample_euler(denoise, states.map(lambda own: own.latent), SIGMAS).video
        assert done is not None
        results.append(done)
    return results[0], results[1]


@pytest.mark.parametrize("mask", [0.0, 1.0])
def test_binary_masks_mean_the_same_by_both_rules(mask: float) -> None:
    official, community = _runs(mask)
    assert torch.allclose(official, community, atol=1e-6)


def test_fractional_masks_do_not() -> None:
    official, community = _runs(0.3)
    assert float((official[:, :6] - community[:, :6]).abs().max()) > 0.01


def test_a_given_stream_is_told_sigma_zero_and_stays() -> None:
    video = _randn(1, 5, 3, 2, 3)
    sound = replace(audio_state(_randn(1, 2, 9, 4, seed=1)), frozen=True)
    noise = Streams(video=_randn(1, 18, 5, seed=2), audio=_randn(1, 9, 8, seed=3))
    states = Streams(video=video_state(video, 24.0), audio=sound).map(
        lambda state, drawn: community_noised(state, drawn, 1.0), noise
    )
    toy = _Toy()
    denoise = CommunityDenoiser(states, states.map(lambda _: Guidance()), toy)
    done = sample_euler(denoise, states.map(lambda own: own.latent), SIGMAS)
    assert done.audio is not None
    assert torch.allclose(done.audio, sound.clean, atol=1e-6)
    told = [(float(sigmas.video[0]), float(sigmas.audio[0])) for sigmas in toy.sigmas]  # type: ignore[index]
    assert told == [(float(sigma), 0.0) for sigma in SIGMAS[:-1]]


def test_a_given_stream_needs_no_negative_text() -> None:
    """It is guided by nothing: what is asked of the other one goes on."""
    sound = replace(audio_state(_randn(1, 2, 9, 4, seed=1)), frozen=True)
    states = Streams(video=video_state(_randn(1, 5, 3, 2, 3), 24.0), audio=sound).map(
        lambda state: community_noised(state, torch.zeros_like(state.latent), 1.0)
    )
    guidance = states.map(lambda _: Guidance(cfg=3.0))
    denoise = CommunityDenoiser(states, guidance, _Toy(), negative=Streams(video=True))
    done = sample_euler(denoise, states.map(lambda own: own.latent), SIGMAS)
    assert torch.allclose(done.audio, sound.clean, atol=1e-6)  # type: ignore[arg-type]


def test_items_of_ours_work_under_the_other_rule() -> None:
    content = _randn(1, 5, 1, 2, 3, seed=7)
    state = apply_items(video_state(torch.zeros(1, 5, 3, 2, 3), 24.0), [Keyframe(latent=content, frame=9)])
    states: Streams[StreamState] = Streams(video=community_noised(state, _randn(1, 24, 5), 1.0))
    done = sample_euler(
        CommunityDenoiser(states, Streams(video=Guidance()), _Toy()), states.map(lambda own: own.latent), SIGMAS
    )
    assert done.video is not None
    assert torch.allclose(done.video[:, 18:], patchify_video(content), atol=1e-6)


def test_projection_by_channel_is_that_of_one_channel_alone() -> None:
    c, u = _randn(2, 7, 3), _randn(2, 7, 3, seed=1)
    rule, official = ChannelApg(eta=0.3, threshold=1.5), Apg(eta=0.3, threshold=1.5)
    found, _ = rule.delta(c, u, 3.0, None)
    for channel in range(3):
        own = slice(channel, channel + 1)
        expected, _ = official.delta(c[..., own], u[..., own], 3.0, None)
        assert torch.allclose(found[..., own], expected, atol=1e-6)
    assert bool(torch.isfinite(rule.delta(c, c, 3.0, None)[0]).all())


def test_masks_of_the_node_pack() -> None:
    mask = torch.zeros(9, 8, 8)
    mask[4, 3, 3] = 1.0
    assert int(grow_mask(mask, 1, 0).sum()) == 9
    assert int(grow_mask(mask, 0, 2).sum()) == 5
    assert latent_mask_frames(mask, "max").shape == (2, 8, 8)
    with pytest.raises(ValueError, match="8k\\+1 frames, found 8"):
        latent_mask_frames(mask[:8], "max")
    images = torch.rand(9, 8, 8, 3)
    assert inpaint_clip(images, mask[4:5]).shape == (9, 8, 8, 3)
    assert inpaint_clip(images, mask[:5]).shape[0] == 5
    with pytest.raises(ValueError, match="8x8 pixels like the clip, found 4x4"):
        inpaint_clip(images, mask[:, :4, :4])


def test_the_time_mask_of_the_node_pack() -> None:
    mask = time_mask(0.3, 0.75, Streams(video=4, audio=26), 24.0)
    assert mask.video is not None
    assert mask.audio is not None
    # round(7.2) = 7: from latent frame 2 (pixel 9) up to, without, the last that starts by pixel 18 (17: frame 3)
    assert mask.video.tolist() == [0, 0, 1, 0]
    assert mask.audio.nonzero().flatten().tolist() == list(range(8, 20))
    assert time_mask(0.3, 0.75, Streams(audio=26), 24.0, outside=0.5).video is None
    with pytest.raises(ValueError, match="0 <= start < end"):
        time_mask(1.0, 1.0, Streams(video=4), 24.0)


def test_blend_curves() -> None:
    curve = blend_curve(4, 6, 10, 2)
    assert curve.tolist() == [0, 0, 0.5, 1, 1, 1, 1, 0.5, 0, 0]
    pixels = curve_in_pixels(curve)
    assert len(pixels) == 73
    assert pixels[:1].tolist() == curve[:1].tolist()
    assert pixels[1::8].tolist() == curve[1:].tolist()
    assert curve_in_pixels(torch.ones(1)).tolist() == [1.0]
    with pytest.raises(ValueError, match="slope"):
        blend_curve(1, 2, 3, 0)


@pytest.mark.parametrize("overlap", [1, 2, 3, 5])
def test_spatial_tiles_give_back_a_latent(overlap: int) -> None:
    latent, plan = _randn(1, 3, 2, 11, 13), SpatialPlan(rows=2, columns=2, overlap=overlap)
    parts = [latent[..., rows, columns] for rows, columns in plan.tiles(11, 13)]
    assert torch.allclose(blend_spatial(parts, plan, 11, 13), latent, atol=1e-5)
    with pytest.raises(ValueError, match="longer than their overlap"):
        SpatialPlan(rows=4, overlap=9).tiles(11, 13)


def test_every_spatial_tile_is_a_run_with_its_part_of_the_images() -> None:
    latent, plan = _randn(1, 3, 5, 8, 9), SpatialPlan(columns=2, overlap=3)
    image = _randn(1, 3, 1, 8, 9, seed=1)
    given: list[Sequence[ConditioningItem]] = []

    def sample(tile: Tensor, items: Sequence[ConditioningItem]) -> Tensor:
        given.append(items)
        return tile

    made = sample_spatial_tiles(latent, plan, sample, images={0: image}, similarity=True)
    assert torch.allclose(made, latent, atol=1e-5)
    for items, (rows, columns) in zip(given, plan.tiles(8, 9), strict=True):
        picture, middle, last = items
        assert isinstance(picture, Keyframe)
        assert isinstance(middle, LatentGuide)
        assert isinstance(last, LatentGuide)
        assert torch.equal(picture.latent, image[..., rows, columns])
        assert (middle.latent_index, last.latent_index, last.strength) == (2, 4, 0.15)
    given.clear()
    sample_spatial_tiles(latent, plan, sample, similarity=True)
    assert given == [(), ()]
