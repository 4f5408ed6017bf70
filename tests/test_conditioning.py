"""Conditioning items: properties, refusals, and how items act together; the golden vectors pin the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from openltx.samplers.attention_strength import AttentionStrength, extend_strength
from openltx.samplers.conditioning import (
    ConditioningItem,
    GivenStream,
    InpaintMask,
    Keyframe,
    KeyframeSlots,
    LatentGuide,
    LatentReplacement,
    ReferenceAudio,
    ReferenceFactors,
    ReferenceVideo,
    TemporalRegions,
    apply_items,
    cell_mask,
    fit_audio_latent,
    frames_text,
    latent_frame_of,
    latent_frames_to_pixels,
    mask_strength,
    place_image,
    reference_factors,
    reference_frames,
    reference_size,
    resolve_frame,
    slot_frames,
)
from openltx.samplers.shapes import (
    VideoGrid,
    audio_latent_frames,
    frames_from_seconds,
    latent_grid,
    nearest_frames,
    nearest_size,
    pixel_frames,
    snap_frames,
    snap_size,
)
from openltx.samplers.state import (
    StreamState,
    VideoLayout,
    audio_state,
    end_stage,
    fresh_state,
    noised,
    video_state,
    without_appended,
)

FPS = 24.0
GRID = VideoGrid(4, 2, 2)  # 25 pixel frames of 64x64
LAYOUT = VideoLayout(grid=GRID, fps=FPS)


def _latent(frames: int = 1, height: int = 2, width: int = 2, *, seed: int = 0) -> Tensor:
    return torch.randn(1, 3, frames, height, width, generator=torch.Generator().manual_seed(seed))


def _video(start: Tensor | None = None, *, fps: float = FPS) -> StreamState:
    return video_state(torch.zeros(1, 3, *GRID) if start is None else start, fps)


def _audio(tokens: int = 26) -> StreamState:
    return audio_state(torch.zeros(1, 8, tokens, 4))


def _times(state: StreamState) -> list[list[int]]:
    """[start, end) of appended tokens, one row a latent frame, in pixel frames."""
    appended = state.positions[0, 0, state.grid_tokens :] * FPS
    rows: list[list[int]] = appended.round().int()[:: GRID.height * GRID.width].tolist()
    return rows


# Durations


def test_audio_and_video_never_differ_by_more_than_one_latent_step() -> None:
    for fps in range(1, 121):
        for frames in range(1, 2001):
            assert abs(audio_latent_frames(frames, fps) / 25 - frames / fps) <= 0.04


def test_seconds_and_frames_of_the_grid_are_each_other_at_every_rate() -> None:
    for fps in range(1, 121):
        for frames in range(1, 2001, 8):
            assert frames_from_seconds(frames / fps, fps, min_frames=1, max_frames=2001) == frames
            assert pixel_frames(latent_grid(frames, 32, 32).frames) == frames


def test_frames_and_sizes_round_to_the_grid_for_every_length() -> None:
    for frames in range(1, 2001):
        snapped = snap_frames(frames)
        assert snapped % 8 == 1
        assert 0 <= frames - snapped < 8
        assert snap_frames(snapped) == snapped == pixel_frames(latent_grid(frames, 32, 32).frames)
        assert nearest_frames(frames) % 8 == 1
        assert abs(nearest_frames(frames) - frames) <= 4
        assert snap_size(frames) % 32 == nearest_size(frames) % 32 == 0


# The frame that is shown is the frame that is bound


@settings(deadline=None)
@given(st.integers(1, 12), st.data(), st.sampled_from(["recipe", "append", "replace"]), st.floats(1, 120))
def test_the_frames_that_are_shown_are_the_frames_that_are_bound(
    latent_frames: int, data: st.DataObject, placement: str, fps: float
) -> None:
    layout = VideoLayout(grid=VideoGrid(latent_frames, 1, 1), fps=fps)
    frame = data.draw(st.integers(-layout.frames, layout.frames - 1))
    item = place_image(_latent(1, 1, 1), frame, layout, strength=1.0, placement=placement)  # type: ignore[arg-type]
    shown = item.frames(layout)
    state = apply_items(video_state(torch.zeros(1, 3, latent_frames, 1, 1), fps), [item])
    (token,) = (state.mask[0, :, 0] == 0).nonzero()
    start, end = state.positions[0, 0, int(token)] * fps
    assert (round(float(start)), round(float(end))) == (shown.start, shown.stop)
    assert resolve_frame(frame, layout.frames) in shown
    assert f"{shown[0]}" in frames_text(shown, fps)


def test_first_and_last_frame_together() -> None:
    items = [place_image(_latent(seed=seed), frame, LAYOUT) for seed, frame in enumerate((0, -1))]
    assert [frames_text(item.frames(LAYOUT), FPS) for item in items] == ["frame 0 (0.000 s)", "frame 24 (1.000 s)"]
    state = apply_items(_video(), items)
    assert torch.equal(state.clean[:, :4], video_state(_latent(seed=0), FPS).latent)
    assert _times(state) == [[24, 25]]
    assert state.mask[0, :, 0].tolist() == [0] * 4 + [1] * 12 + [0] * 4


def test_every_frame_lies_in_its_latent_frame() -> None:
    for frame in range(200):
        assert frame in latent_frames_to_pixels(latent_frame_of(frame), 1)
    assert list(latent_frames_to_pixels(1, 2)) == list(range(1, 17))


def test_frames_as_a_user_reads_them() -> None:
    assert frames_text(range(17, 25), 24) == "frames 17 to 24 (0.708 to 1.000 s)"
    clip = Keyframe(latent=_latent(2), frame=4)
    assert frames_text(clip.frames(LAYOUT), 24) == "frames 4 to 12, every 8 (0.167 to 0.500 s)"


@pytest.mark.parametrize(
    ("frame", "count", "span", "times"),
    [
        (0, 2, 9, [[0, 1], [1, 9]]),
        (9, 2, 16, [[9, 17], [17, 25]]),
        (9, 2, 1, [[9, 10], [17, 18]]),
        (0, 1, 1, [[0, 1]]),
        (13, 1, 8, [[13, 21]]),
    ],
)
def test_clips_bind_as_the_table_of_the_page_says(frame: int, count: int, span: int, times: list[list[int]]) -> None:
    item = Keyframe(latent=_latent(count), frame=frame, pixel_frames=span)
    assert _times(apply_items(_video(), [item])) == times
    assert set(item.frames(LAYOUT)) == {f for start, end in times for f in range(start, end)}


@pytest.mark.parametrize(
    ("index", "count", "times"),
    [(0, 2, [[0, 1], [1, 9]]), (-2, 2, [[-16, -8], [-8, 0]]), (3, 1, [[17, 18]]), (2, 2, [[9, 17], [17, 25]])],
)
def test_latent_guides_follow_latent_indices(index: int, count: int, times: list[list[int]]) -> None:
    assert _times(apply_items(_video(), [LatentGuide(latent=_latent(count), latent_index=index)])) == times


def test_a_smaller_guide_is_spread_over_the_grid() -> None:
    small = _latent(1, 1, 1)
    for whole, end in ((True, 64), (False, 32)):
        state = apply_items(_video(), [LatentGuide(latent=small, latent_index=0, whole_cells=whole)])
        assert state.positions[0, 1:, -1].tolist() == [[0, end], [0, end]]


# Items together


def test_keyframes_a_control_video_slots_and_given_audio_at_once() -> None:
    video = apply_items(
        _video(),
        [
            LatentReplacement(latent=_latent()),
            Keyframe(latent=_latent(), frame=12, strength=0.9),
            Keyframe(latent=_latent(), frame=24),
            ReferenceVideo(latent=_latent(4, 1, 1), factors=ReferenceFactors(space=2), attention=0.5),
            KeyframeSlots(positions=(5, 20)),
        ],
        slots_supported=True,
    )
    audio = apply_items(
        _audio(), [GivenStream(latent=torch.ones(1, 8, 26, 4)), ReferenceAudio(latent=torch.ones(1, 8, 5, 4))]
    )
    assert video.latent.shape == video.clean.shape == (1, 16 + 4 + 4 + 4 + 8, 3)
    assert video.positions.shape == (1, 3, 36, 2)
    assert video.attention is not None
    assert video.attention.dense().shape == (1, 36, 36)
    noise = torch.randn(video.latent.shape)
    start = noised(video, noise, 1.0)
    given = start.mask[0, :, 0] == 0
    assert torch.equal(start.latent[:, given], video.clean[:, given])
    latent, slots = end_stage(start)
    assert latent.shape == (1, 3, *GRID)
    assert slots is not None
    assert torch.equal(slots[0, :, 1].flatten(1).T, noise[0, 32:])
    sound = noised(audio, torch.randn(audio.latent.shape), 1.0)
    assert sound.frozen
    assert not sound.mask.any()
    assert torch.equal(end_stage(sound).latent, torch.ones(1, 8, 26, 4))


@settings(deadline=None)
@given(st.lists(st.sampled_from(["keyframe", "reference", "guide"]), max_size=4))
def test_items_drop_their_own_tokens_afterwards(kinds: list[str]) -> None:
    items: dict[str, ConditioningItem] = {
        "keyframe": Keyframe(latent=_latent(), frame=7, strength=0.5),
        "reference": ReferenceVideo(latent=_latent(2), attention=0.3),
        "guide": LatentGuide(latent=_latent(2), latent_index=-2),
    }
    start = _video(_latent(4))
    state = apply_items(start, [items[kind] for kind in kinds])
    grid = without_appended(state)
    for name in ("latent", "clean", "mask", "positions", "keyframe_marks"):
        assert torch.equal(getattr(grid, name), getattr(start, name))
    assert grid.attention is None
    assert torch.equal(end_stage(state).latent, _latent(4))


def test_a_batch_shares_an_items_content_and_dtype_is_the_states() -> None:
    start = video_state(torch.zeros(2, 3, *GRID, dtype=torch.bfloat16), FPS)
    state = apply_items(start, [LatentReplacement(latent=_latent()), Keyframe(latent=_latent(), frame=8)])
    assert state.clean.dtype is state.latent.dtype is torch.bfloat16
    assert state.mask.dtype is state.positions.dtype is torch.float32
    assert torch.equal(state.clean[0], state.clean[1])
    assert state.mask.shape == (2, 20, 1)


def test_items_leave_the_state_that_they_are_given_alone() -> None:
    start = _video()
    before = start.clean.clone(), start.mask.clone()
    apply_items(start, [LatentReplacement(latent=_latent()), Keyframe(latent=_latent(), frame=3)])
    keep = torch.ones(1, *GRID)
    apply_items(start, [InpaintMask(source=_latent(4), keep=keep)])
    assert torch.equal(start.clean, before[0])
    assert torch.equal(start.mask, before[1])


def test_a_given_stream_is_clean_at_every_level_whatever_comes_after_it() -> None:
    items: list[ConditioningItem] = [GivenStream(latent=_latent(4)), ReferenceVideo(latent=_latent(2), strength=0.5)]
    state = noised(apply_items(_video(), items), torch.randn(1, 24, 3), 0.9)
    assert torch.equal(state.latent[:, :16], _video(_latent(4)).latent)
    assert torch.equal(state.latent[:, 16:], 0.5 * state.clean[:, 16:])
    assert not state.mask.any()


# Attention strength


def _dense_by_the_rules(grid: int, items: Sequence[tuple[int, float | None]]) -> Tensor | None:
    """The page's matrix, built block by block."""
    matrix: Tensor | None = None
    tokens = grid
    for added, weight in items:
        if matrix is not None or weight is not None:
            w = 1.0 if weight is None else weight
            old = torch.ones(tokens, tokens) if matrix is None else matrix
            matrix = torch.zeros(tokens + added, tokens + added)
            matrix[:tokens, :tokens] = old
            matrix[tokens:, tokens:] = 1
            matrix[tokens:, :grid] = w
            matrix[:grid, tokens:] = w
        tokens += added
    return matrix


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(1, 3), st.none() | st.sampled_from([0.0, 0.25, 0.5])), max_size=5),
)
def test_the_compressed_strengths_are_the_matrix_of_the_page(grid: int, items: list[tuple[int, float | None]]) -> None:
    strength: AttentionStrength | None = None
    tokens = grid
    for added, weight in items:
        weights = None if weight is None else torch.full((1, added), weight)
        strength = extend_strength(strength, weights, grid=grid, tokens=tokens, added=added)
        tokens += added
    want = _dense_by_the_rules(grid, items)
    if want is None:
        assert strength is None
        return
    assert strength is not None
    assert torch.equal(strength.dense()[0], want)
    assert torch.equal(strength.dense(slice(1, 3))[0], want[1:3])
    some = torch.arange(0, tokens, 2)
    assert torch.equal(strength.select(some).dense()[0], want[some][:, some])


def test_full_strength_needs_no_matrix_and_a_mask_always_makes_one() -> None:
    item = ReferenceVideo(latent=_latent(2))
    assert apply_items(_video(), [item]).attention is None
    mask = mask_strength(torch.ones(1, 1, 9, 64, 64), VideoGrid(2, 2, 2))
    assert apply_items(_video(), [replace(item, attention=mask)]).attention is not None


def test_token_weights_may_differ_in_a_batch() -> None:
    weights = torch.tensor([[0.0] * 8, [0.5] * 8])
    start = video_state(torch.zeros(2, 3, *GRID), FPS)
    state = apply_items(start, [ReferenceVideo(latent=_latent(2), attention=weights)])
    assert state.attention is not None
    dense = state.attention.dense()
    assert dense.shape == (2, 24, 24)
    assert dense[:, 0, 20].tolist() == [0, 0.5]


def test_a_still_attention_mask_goes_to_all_frames() -> None:
    weights = mask_strength(torch.full((1, 1, 1, 8, 8), 0.5), VideoGrid(3, 2, 2), 0.5)
    assert weights.tolist() == [[0.25] * 12]


# Masks


@given(st.integers(0, 15), st.integers(1, 16))
def test_a_retake_generates_exactly_the_tokens_that_touch_it(first: int, length: int) -> None:
    start, end = first / 16, (first + length) / 16
    state = apply_items(_video(), [TemporalRegions(regions=((start, end),))])
    for token, (begin, stop) in enumerate(state.positions[0, 0].tolist()):
        assert bool(state.mask[0, token, 0]) == (stop > start and begin < end)


def test_a_retake_may_have_several_regions() -> None:
    state = apply_items(_audio(), [TemporalRegions(regions=((0.0, 0.005), (0.5, 0.52)))])
    assert state.mask[0, :, 0].nonzero().flatten().tolist() == [0, 13]


def test_pixel_masks_become_cells_of_the_first_frame_and_groups_of_eight() -> None:
    mask = torch.zeros(1, 25, 64, 64)
    mask[:, 8, 40, 3] = 1
    cells = cell_mask(mask, LAYOUT)
    assert cells.nonzero().tolist() == [[0, 1, 1, 0]]
    assert not cell_mask(mask, LAYOUT, reduction="min").any()
    assert cell_mask(mask, LAYOUT, reduction="mean").sum() == pytest.approx(1 / (8 * 32 * 32))
    assert torch.equal(cell_mask(torch.ones(1, 1, 64, 64), LAYOUT), torch.ones(1, *GRID))


# References


@given(st.integers(1, 40), st.integers(1, 9))
def test_a_coarser_reference_ends_with_the_clip(latent_frames: int, time: int) -> None:
    factors = ReferenceFactors(time=time)
    frames = pixel_frames(latent_frames)
    kept = reference_frames(frames, factors)
    assert kept[0] == 0
    assert kept[-1] < frames
    assert bool((kept[1:] > kept[:-1]).all())
    if (frames - 1) % (8 * time) == 0:  # the reference then has whole latent frames
        grid = latent_grid(len(kept), 32, 32)
        state = video_state(torch.zeros(1, 3, latent_frames, 1, 1), FPS)
        state = apply_items(state, [ReferenceVideo(latent=torch.zeros(1, 3, *grid), factors=factors)])
        ends = state.positions[0, 0, :, 1]
        assert float(ends[-1]) == pytest.approx(float(ends[latent_frames - 1]), rel=1e-5)


def test_factors_come_from_the_files() -> None:
    half = {"reference_downscale_factor": "2"}
    slow = {"reference_temporal_scale_factor": "4", "reference_downscale_factor": "1"}
    assert reference_factors({}) == ReferenceFactors()
    assert reference_factors({"a": half, "b": slow, "c": half}) == ReferenceFactors(space=2, time=4)
    with pytest.raises(ValueError, match="found 2 in a, 3 in b; use one"):
        reference_factors({"a": half, "b": {"reference_downscale_factor": "3"}})
    with pytest.raises(ValueError, match="a: reference_downscale_factor: expected a whole number from 1, found 'x'"):
        reference_factors({"a": {"reference_downscale_factor": "x"}})
    assert reference_size(512, 768, ReferenceFactors(space=2)) == (256, 384)
    with pytest.raises(ValueError, match="multiples of 3"):
        reference_size(512, 768, ReferenceFactors(space=3))


# Audio


def test_a_reference_voice_lies_before_the_clip() -> None:
    state = apply_items(_audio(), [ReferenceAudio(latent=torch.ones(1, 8, 50, 4))])
    assert float(state.positions[0, 0, 26:].max()) == pytest.approx(-0.04)
    assert bool((state.positions[0, 0, 26:] < 0).all())
    assert end_stage(state).latent.shape == (1, 8, 26, 4)
    assert state.keyframe_marks is None


def test_an_audio_latent_is_cut_and_only_padded_on_request() -> None:
    latent = torch.ones(1, 8, 10, 4)
    assert fit_audio_latent(latent, 7).shape == (1, 8, 7, 4)
    padded = fit_audio_latent(latent, 12, pad=True)
    assert padded.shape == (1, 8, 12, 4)
    assert not padded[:, :, 10:].any()
    with pytest.raises(ValueError, match="at least 12 frames"):
        fit_audio_latent(latent, 12)


# Slots


def test_slots_are_marked_and_listed_frames_are_put_in_order() -> None:
    assert slot_frames([20, 3, 3, -1], 25) == [3, 20, 24]
    state = apply_items(_video(), [KeyframeSlots(positions=(0, 8), seeds=_latent(2))], slots_supported=True)
    assert state.keyframe_marks is not None
    assert state.keyframe_marks[0, :, 0].tolist() == [1] * 4 + [0] * 12 + [1] * 8
    assert _times(state) == [[0, 1], [8, 9]]
    assert bool((state.mask[:, 16:] == 1).all())
    slots = end_stage(state).slots
    assert slots is not None
    assert torch.equal(slots, _latent(2))


# Refusals: one line each


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([Keyframe(latent=_latent(), frame=25)], "keyframe: expected frames from 0 to 24, found 25; move"),
        ([Keyframe(latent=_latent(), frame=-1)], "keyframe: expected frames from 0 to 24, found -1"),
        ([Keyframe(latent=_latent(2), frame=16, pixel_frames=16)], "expected frames from 0 to 24, found 16 to 31"),
        ([LatentReplacement(latent=_latent(2), latent_frame=3)], "latent frames from 0 to 3, found 3 to 4"),
        (
            [LatentReplacement(latent=_latent()), Keyframe(latent=_latent(), frame=0)],
            "items 1 and 2 both claim frame 0 at full strength",
        ),
        (
            [Keyframe(latent=_latent(), frame=f) for f in (3, 9, 3)],
            "items 1 and 3 both claim frame 3 at full strength; move one, or lower",
        ),
        ([Keyframe(latent=_latent(1, 4, 2), frame=0)], "keyframe: expected 64x64 pixels for this clip, found 64x128"),
        ([LatentReplacement(latent=_latent(1, 2, 3))], "image: expected 64x64 pixels"),
        ([LatentReplacement(latent=torch.zeros(1, 4, 1, 2, 2))], "3 features a token, found 1 with 4"),
        ([LatentReplacement(latent=torch.zeros(3, 1, 2, 2))], r"image: expected a video latent \(B, C, F, H, W\)"),
        ([Keyframe(latent=_latent(), frame=3, strength=1.5)], "keyframe: expected a strength from 0"),
        (
            [InpaintMask(source=_latent(4), keep=torch.ones(1, 4, 2, 3))],
            r"expected \(4, 2, 2\) cells .* found \(4, 2, 3",
        ),
        (
            [InpaintMask(source=_latent(3), keep=torch.ones(1, *GRID))],
            "inpaint source: expected 4 latent frames, found 3",
        ),
        ([InpaintMask(source=_latent(4), keep=torch.full((1, *GRID), 2.0))], "values from 0 to 1, found 2 to 2"),
        ([TemporalRegions(regions=())], "retake: expected at least one region"),
        ([TemporalRegions(regions=((2.0, 3.0),))], r"within the clip \(0 to 1.042 s\), found 2 to 3 s"),
        ([TemporalRegions(regions=((0.5, 0.2),))], "retake: expected a region"),
        (
            [Keyframe(latent=_latent(), frame=3), TemporalRegions(regions=((0, 1),))],
            "retake: expected one retake, before",
        ),
        ([GivenStream(latent=_latent(3))], "given video: expected 4 latent frames, found 3"),
        ([GivenStream(latent=_latent(4)), Keyframe(latent=_latent(), frame=3)], "found GivenStream and Keyframe"),
        (
            [ReferenceVideo(latent=_latent(5))],
            "reference video: expected at most 4 latent frames for this clip, found 5",
        ),
        (
            [ReferenceVideo(latent=_latent(4), factors=ReferenceFactors(space=2))],
            "expected 32x32 pixels .* found 64x64",
        ),
        ([ReferenceVideo(latent=_latent(), attention=1.5)], "attention strength: expected a number from 0 to 1"),
        ([ReferenceVideo(latent=_latent(), attention=torch.ones(3))], "one weight for each of 4 tokens, found shape"),
        ([ReferenceVideo(latent=_latent(), attention=torch.full((4,), 2.0))], "weights from 0 to 1, found 2 to 2"),
        ([ReferenceAudio(latent=torch.ones(1, 8, 5, 4))], "reference audio: expected the audio stream, found video"),
        ([KeyframeSlots(positions=(3, 3))], "strictly rising frames, found"),
        ([KeyframeSlots(positions=(3, 25))], "expected a frame from 0 to 24"),
        ([KeyframeSlots(positions=())], "at least one frame"),
        ([KeyframeSlots(positions=(3,), seeds=_latent(2))], "keyframe slots: seeds: expected 1 latent frames, found 2"),
        ([KeyframeSlots(positions=(3,)), KeyframeSlots(positions=(9,))], "expected one item a stage, found two"),
    ],
)
def test_bad_items_are_refused_in_one_line(items: list[ConditioningItem], message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        apply_items(_video(), items, slots_supported=True)
    assert "\n" not in str(refused.value)


def test_lower_strength_may_share_a_frame() -> None:
    items = [Keyframe(latent=_latent(), frame=3), Keyframe(latent=_latent(), frame=3, strength=0.99)]
    assert apply_items(_video(), items).latent.shape[1] == 24


def test_other_refusals() -> None:
    with pytest.raises(ValueError, match=r"expected an audio latent of 26 frames \(1.04 s\) for this clip, found 25"):
        apply_items(_audio(), [GivenStream(latent=torch.zeros(1, 8, 25, 4))])
    with pytest.raises(ValueError, match="keyframe: expected the video stream, found audio"):
        apply_items(_audio(), [Keyframe(latent=_latent(), frame=0)])
    with pytest.raises(ValueError, match="this model cannot generate keyframes"):
        apply_items(_video(), [KeyframeSlots(positions=(3,))])
    with pytest.raises(ValueError, match=r"noise: expected shape \(1, 16, 3\), found \(1, 15, 3\)"):
        noised(_video(), torch.zeros(1, 15, 3), 1.0)
    with pytest.raises(ValueError, match="a state without a layout"):
        Keyframe(latent=_latent(), frame=0).apply(fresh_state(torch.zeros(1, 4, 3), torch.zeros(1, 3, 4, 2)))
    with pytest.raises(ValueError, match="put it before them"):
        TemporalRegions(regions=((0, 1),)).apply(apply_items(_video(), [Keyframe(latent=_latent(), frame=3)]))
    with pytest.raises(ValueError, match="mask: expected 25 frames .or 1. of 64x64 pixels"):
        cell_mask(torch.zeros(1, 24, 64, 64), LAYOUT)
    with pytest.raises(ValueError, match="a multiple of 2, found 6"):
        mask_strength(torch.zeros(1, 1, 6, 8, 8), VideoGrid(3, 2, 2))
    with pytest.raises(ValueError, match="placement: expected recipe, append or replace"):
        place_image(_latent(), 0, LAYOUT, placement="magic")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one picture"):
        place_image(_latent(2), 0, LAYOUT)
    with pytest.raises(ValueError, match=r"from 0 to 24 \(or -1 to -25 from the end\), found 25"):
        place_image(_latent(), 25, LAYOUT)
