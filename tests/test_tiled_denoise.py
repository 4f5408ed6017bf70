"""Tiles of a model call: what every plan must keep, whatever the network does (spec pipelines.md section 14)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from openltx.nodes.conditioning import EncodePrompt
from openltx.nodes.guide import PresetGuider
from openltx.nodes.latents import EmptyAVLatent, joined, members, with_audio_item
from openltx.nodes.load import INSIDE, LoadModel
from openltx.nodes.noise import SeededNoise
from openltx.nodes.rules import NamedRule
from openltx.nodes.stage import run_stage
from openltx.nodes.tiled import FittingTiledGuider, MaskRule, SampleTiles, TiledGuider
from openltx.samplers.attention_strength import AttentionStrength
from openltx.samplers.conditioning import (
    ConditioningItem,
    GivenStream,
    Keyframe,
    KeyframeSlots,
    LatentGuide,
    LatentReplacement,
    ReferenceAudio,
    ReferenceFactors,
    ReferenceVideo,
    apply_items,
)
from openltx.samplers.conditioning.append import append_tokens
from openltx.samplers.cut_items import cut_video_items
from openltx.samplers.denoiser import Denoiser, Predict
from openltx.samplers.dfr import dfr_canvas, dfr_stitch, dfr_tiles, nearest_latent_frame
from openltx.samplers.guidance import Guidance, Pass, plan_passes
from openltx.samplers.shapes import VideoGrid, latent_grid
from openltx.samplers.state import StreamState, VideoLayout, audio_state, video_state
from openltx.samplers.steps import sample_euler
from openltx.samplers.streams import Streams
from openltx.samplers.tiled_predict import tiled_predict
from openltx.samplers.tiled_tokens import tile_state, tile_tokens
from openltx.samplers.tiling import AxisTiles, TilePlan, affordable_plan, balanced, blend_tiles, fitted_plan, split_axis

ON = Streams(video=True, audio=True)
GRID = VideoGrid(5, 6, 7)
PLANS = [
    TilePlan(),
    TilePlan(width=AxisTiles(count=2, overlap=1)),
    TilePlan(height=AxisTiles(count=2, overlap=3), width=AxisTiles(count=3, overlap=1)),
    TilePlan(frames=AxisTiles(count=2, overlap=2), height=AxisTiles(count=6), width=AxisTiles(count=2, overlap=5)),
]


def _randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _states(batch: int = 2) -> Streams[StreamState]:
    """A clip with keyframes, a coarse reference, context before it, strengths, and a voice."""
    video = video_state(_randn(batch, 4, *GRID), 24.0)
    for item in (
        Keyframe(latent=_randn(1, 4, 1, 6, 7, seed=1), frame=20, attention=0.5),
        LatentGuide(latent=_randn(1, 4, 1, 6, 7, seed=2), latent_index=-1),
    ):
        video = item.apply(video)
    audio = ReferenceAudio(latent=_randn(1, 2, 3, 4, seed=3)).apply(audio_state(_randn(batch, 2, 9, 4, seed=4)))
    return Streams(video=video, audio=audio)


@pytest.mark.parametrize("length", [1, 2, 7, 13, 34, 68, 120])
def test_tiles_of_an_axis_cover_it_with_weights_that_sum_to_one(length: int) -> None:
    for count in range(1, min(length, 9) + 1):
        for overlap in range(6):
            if count > 1 and (length + overlap * (count - 1)) // count <= overlap:
                with pytest.raises(ValueError, match="longer than their overlap"):
                    split_axis(length, count, overlap)
                continue
            intervals = split_axis(length, count, overlap)
            total = torch.zeros(length)
            for interval in intervals:
                total[interval.cells] += interval.weights()
                assert bool((interval.weights() > 0).all())
            # Where three tiles meet in a cell the ramps do not sum to 1: a plan refuses it.
            meet = count > 2 and min(map(len, intervals)) < 2 * overlap
            assert meet or torch.allclose(total, torch.ones(length))
            if meet:
                with pytest.raises(ValueError, match="at least twice their overlap"):
                    TilePlan(height=AxisTiles(count=count, overlap=overlap)).tiles(VideoGrid(1, length, 1))
            assert max(map(len, intervals)) - min(map(len, intervals)) <= 1
            assert all(one.end - other.start == overlap for one, other in pairwise(intervals))


@pytest.mark.parametrize("plan", PLANS)
def test_every_token_has_shares_that_sum_to_one(plan: TilePlan) -> None:
    state = _states().video
    assert state is not None
    total = torch.zeros(state.latent.shape[1])
    for tokens in tile_tokens(state.positions, plan.tiles(GRID)):
        assert bool((tokens.index[1:] > tokens.index[:-1]).all())
        total[tokens.index] += tokens.weights
    assert torch.allclose(total, torch.ones_like(total))


def test_a_token_before_the_clip_is_in_all_tiles_and_one_beyond_it_in_none() -> None:
    state = _states().video
    assert state is not None
    beyond = state.positions[:, :, :1] + 1000.0
    far = append_tokens(state, state.latent[:, :1], beyond, mask=0.0)
    tokens = tile_tokens(far.positions, PLANS[2].tiles(GRID))
    last = far.latent.shape[1] - 1
    before = int((state.positions[0, 0, :, 0] < 0).nonzero()[0])
    assert all(before in own.index and last not in own.index for own in tokens)


def test_a_coarse_reference_is_in_the_tiles_that_its_larger_cells_touch() -> None:
    state = video_state(torch.zeros(1, 4, 2, 4, 4), 24.0)
    reference = ReferenceVideo(latent=torch.zeros(1, 4, 2, 2, 2), factors=ReferenceFactors(space=2))
    state = reference.apply(state)
    plan = TilePlan(width=AxisTiles(count=2))
    left, right = tile_tokens(state.positions, plan.tiles(VideoGrid(2, 4, 4)))
    assert (left.index >= 32).sum() == (right.index >= 32).sum() == 4
    assert not set(left.index.tolist()) & set(right.index.tolist())


@pytest.mark.parametrize("plan", PLANS[1:])
def test_a_tile_begins_at_zero_and_keeps_its_marks_and_strengths(plan: TilePlan) -> None:
    state = _states().video
    assert state is not None
    assert state.attention is not None
    assert state.keyframe_marks is not None
    whole = state.attention.dense()
    tiles = plan.tiles(GRID)
    for tile, tokens in zip(tiles, tile_tokens(state.positions, tiles), strict=True):
        own = tile_state(state, tile, tokens)
        assert isinstance(own.attention, AttentionStrength)
        assert bool((own.positions[:, :, : tokens.grid, 0].amin(dim=-1) == 0).all())
        assert torch.equal(own.attention.dense(), whole[:, tokens.index][:, :, tokens.index])
        assert own.grid_tokens == tokens.grid == tile.size.tokens
        assert own.keyframe_marks is not None
        assert torch.equal(own.keyframe_marks, state.keyframe_marks[:, tokens.index])


class _Pointwise:
    """A network of tokens that do not see each other: tiles must not change what it says."""

    def __init__(self, states: Streams[StreamState]) -> None:
        assert states.video is not None
        self.tokens = states.video.latent.shape[1]

    def __call__(
        self,
        passes: Sequence[Pass],
        latents: Streams[Tensor],
        timesteps: Streams[Tensor],
        sigmas: Streams[Tensor],
        /,
    ) -> list[Streams[Tensor]]:
        assert latents.video is not None
        assert latents.video.shape[1] == self.tokens
        return [
            latents.map(lambda x, t, factor=factor: torch.tanh(x) * factor + t, timesteps)
            for factor, _ in enumerate(passes, start=1)
        ]


@pytest.mark.parametrize("plan", PLANS)
def test_tiles_change_nothing_for_a_network_of_independent_tokens(plan: TilePlan) -> None:
    states = _states()
    guidance = states.map(lambda _: Guidance(cfg=3.0, rescale=0.7))
    passes = plan_passes(guidance, asking=ON, enabled=ON, negative=ON)
    latents, timesteps = states.map(lambda s: s.latent), states.map(lambda s: s.mask * 0.5)
    sigmas = states.map(lambda s: torch.full((2,), 0.5))
    expected = _Pointwise(states)(passes, latents, timesteps, sigmas)
    found = tiled_predict(_Pointwise, states, plan)(passes, latents, timesteps, sigmas)
    assert len(found) == len(expected) == 2
    for one, other in zip(expected, found, strict=True):
        for own, tiled in zip(one.present(), other.present(), strict=True):
            assert torch.allclose(own, tiled, atol=1e-5)


@pytest.mark.parametrize("plan", PLANS)
def test_a_whole_run_in_tiles_is_the_run_in_one_piece_for_independent_tokens(plan: TilePlan) -> None:
    """Blending velocities is blending x0, also through guidance, given tokens and steps."""
    states, sigmas = _states(), torch.tensor([1.0, 0.7, 0.3, 0.0])
    guidance = states.map(lambda _: Guidance(cfg=2.0))

    def run(predict: Predict) -> Streams[Tensor]:
        denoise = Denoiser(states, guidance, predict, negative=ON)
        return sample_euler(denoise, states.map(lambda s: s.latent), sigmas)

    whole, tiled = run(_Pointwise(states)), run(tiled_predict(_Pointwise, states, plan))
    for one, other in zip(whole.present(), tiled.present(), strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_one_tile_or_no_video_is_the_plain_predictor() -> None:
    states = _states()
    assert isinstance(tiled_predict(_Pointwise, states, TilePlan()), _Pointwise)
    alone = Streams[StreamState](audio=states.audio)
    marker = _Pointwise(states)
    assert tiled_predict(lambda _: marker, alone, PLANS[2]) is marker


@pytest.mark.parametrize(
    ("frames", "height", "width", "tokens"),
    [(121, 2176, 3840, 32768), (121, 3840, 2176, 65536), (257, 1088, 1920, 20000)],
)
def test_fitting_plans_stay_below_their_tokens_up_to_4k(frames: int, height: int, width: int, tokens: int) -> None:
    grid = latent_grid(frames, height, width)
    plan = affordable_plan(grid, tokens)
    tiles = plan.tiles(grid)
    assert max(tile.size.tokens for tile in tiles) <= tokens < grid.tokens
    total = torch.zeros(*grid)
    for tile in tiles:
        tile.cut(total).add_(tile.weights())
    assert torch.allclose(total, torch.ones_like(total))
    assert affordable_plan(grid, grid.tokens) == TilePlan()
    with pytest.raises(ValueError, match="allow more tokens"):
        affordable_plan(grid, 100)


def test_bad_plans_are_refused() -> None:
    with pytest.raises(ValueError, match="width: expected tiles longer than their overlap of 5"):
        TilePlan(width=AxisTiles(count=4, overlap=5)).tiles(GRID)
    with pytest.raises(ValueError, match="at least 1 tile"):
        split_axis(5, 0, 0)
    with pytest.raises(ValueError, match="at least 1"):
        balanced(0)


def test_runs_of_their_own_are_blended_and_plans_fitted_to_small_clips() -> None:
    latent = _randn(2, 3, *GRID)
    plan = fitted_plan(
        TilePlan(frames=AxisTiles(count=2, overlap=8), height=AxisTiles(count=9), width=AxisTiles(count=2, overlap=6)),
        GRID,
    )
    assert (plan.frames.overlap, plan.height.count, plan.width.overlap) == (3, 1, 5)
    tiles = plan.tiles(GRID)
    assert torch.allclose(blend_tiles(tiles, [tile.cut(latent) for tile in tiles]), latent, atol=1e-6)


@pytest.mark.parametrize("frames", [9, 57, 121, 241, 481])
def test_rounds_of_rendering_cover_the_clip_once(frames: int) -> None:
    keyframes = list(dfr_canvas(frames).slots)
    for count in (2, 4):
        keyframes = [2 * frame for frame in keyframes]
        tiles = dfr_tiles(keyframes, count)
        whole = torch.arange(keyframes[-1] // 8 + 1)[None, None]
        pieces = [whole[:, :, tile.first_latent : tile.end_latent] for tile in tiles]
        assert torch.equal(dfr_stitch(tiles, pieces), whole)
        assert {slot for tile in tiles for slot in tile.slots}.isdisjoint(keyframes)
        keyframes = sorted({*keyframes, *(slot for tile in tiles for slot in tile.slots)})


def test_layouts_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        dfr_canvas(1)
    for keyframes in ([], [24, 24], [12, 24]):
        with pytest.raises(ValueError, match="rising multiples of 8"):
            dfr_tiles(keyframes, 2)
    with pytest.raises(ValueError, match="at least 1 with a lead"):
        dfr_tiles([24], 0)
    assert [nearest_latent_frame(frame, 5) for frame in (0, 4, 12, 60)] == [0, 0, 2, 4]


def test_items_are_cut_to_a_tile_that_is_a_run_of_its_own() -> None:
    layout = VideoLayout(grid=VideoGrid(5, 4, 6), fps=24.0)
    plan = TilePlan(frames=AxisTiles(count=2, overlap=1), width=AxisTiles(count=2, overlap=2))
    tile = plan.tiles(layout.grid)[-1]
    assert (tile.frames.cells, tile.width.cells) == (slice(2, 5), slice(2, 6))
    clip, coarse = _randn(1, 3, 5, 4, 6), _randn(1, 3, 5, 2, 3, seed=1)
    attention = torch.linspace(0, 1, 5 * 2 * 3)
    items: list[ConditioningItem] = [
        Keyframe(latent=clip[:, :, :1], frame=20),
        Keyframe(latent=clip[:, :, :1], frame=15),
        LatentReplacement(latent=clip, strength=0.5),
        ReferenceVideo(latent=coarse, factors=ReferenceFactors(space=2), attention=attention),
    ]
    keyframe, replaced, reference = cut_video_items(items, tile, layout)  # frame 15 lies before its first picture, 16
    assert isinstance(keyframe, Keyframe)
    assert isinstance(replaced, LatentReplacement)
    assert isinstance(reference, ReferenceVideo)
    assert keyframe.frame == 20 - 16
    assert torch.equal(keyframe.latent, clip[:, :, :1, :, 2:6])
    assert replaced.latent_frame == 0
    assert torch.equal(replaced.latent, tile.cut(clip))
    assert torch.equal(reference.latent, coarse[:, :, 2:5, :, 1:3])
    assert isinstance(reference.attention, Tensor)
    assert torch.equal(reference.attention, attention.reshape(5, 2, 3)[2:5, :, 1:3].flatten())
    start = video_state(torch.zeros(1, 3, *tile.size), 24.0)
    assert apply_items(start, [keyframe, reference]).latent.shape[1] == 48 + 16 + 12
    with pytest.raises(ValueError, match="found KeyframeSlots; it cannot be cut"):
        cut_video_items([KeyframeSlots(positions=(8,))], tile, layout)


def test_tiles_that_are_runs_keep_the_sound_and_blend_the_picture() -> None:
    model, encoder = LoadModel.execute("openltx-tiny-2.3.safetensors", INSIDE, "float32").args[:2]
    latent = EmptyAVLatent.execute(model, 128, 96, 25, 24.0).args[0]
    pair = members(latent).map(lambda member: torch.randn(member.shape, generator=torch.Generator().manual_seed(5)))
    latent = {**latent, "samples": joined(pair)}
    guider = PresetGuider.execute(model, EncodePrompt.execute(encoder, "a ball").args[0], "none").args[0]
    noise, rule, sigmas = SeededNoise(1), NamedRule(name="euler"), torch.tensor([0.3, 0.0])
    with torch.inference_mode():
        made = members(SampleTiles.execute(noise, guider, rule, sigmas, latent, 1, 2, 2, 2, 1).args[0])
        one = members(SampleTiles.execute(noise, guider, rule, sigmas, latent, 1, 1, 0, 1, 0).args[0])
    assert made.video is not None
    assert made.audio is not None
    assert pair.audio is not None
    assert pair.video is not None
    assert made.video.shape == pair.video.shape
    assert torch.equal(made.audio, pair.audio)
    assert not torch.equal(made.video, pair.video)
    assert one.video is not None
    frozen = with_audio_item(latent, GivenStream(latent=pair.audio))
    with torch.inference_mode():
        plain = members(run_stage(noise, guider, rule, sigmas, frozen)[0])
    assert plain.video is not None
    assert torch.equal(one.video, plain.video), "one tile is the plain stage with the sound given"


def test_a_stage_in_tiles_draws_the_noise_of_a_whole_one() -> None:
    model, encoder = LoadModel.execute("openltx-tiny-2.3.safetensors", INSIDE, "float32").args[:2]
    latent = EmptyAVLatent.execute(model, 128, 96, 9, 24.0).args[0]
    positive = EncodePrompt.execute(encoder, "a ball").args[0]
    guider = PresetGuider.execute(model, positive, "none").args[0]
    tiled = TiledGuider.execute(guider, 1, 2, 1, 1, 0).args[0]
    fitting, text = FittingTiledGuider.execute(guider, latent, 20, 1).args
    drawn: list[Streams[Tensor]] = []

    class Recorded(SeededNoise):
        def start(self, states: Streams[StreamState]) -> Streams[Tensor]:
            drawn.append(super().start(states))
            return drawn[-1]

    results = []
    sigmas = torch.tensor([0.5, 0.0])
    with torch.inference_mode():
        for own in (guider, tiled, fitting, MaskRule.execute(guider, "community").args[0]):
            results.append(members(run_stage(Recorded(3), own, NamedRule(name="euler"), sigmas, latent)[0]).video)
    for own in drawn:
        assert all(torch.equal(one, other) for one, other in zip(own.present(), drawn[0].present(), strict=True))
    whole, in_tiles, fitted, community = results
    assert whole is not None
    assert in_tiles is not None
    assert community is not None
    assert fitted is not None
    assert not torch.equal(whole, in_tiles)
    assert bool(torch.isfinite(in_tiles).all())
    assert text == "1 x 2 tiles of 96x96 pixels (18 tokens)"
    assert torch.equal(in_tiles, fitted)
    assert torch.allclose(community, whole, atol=1e-5), "without fractional masks both rules are the same"
