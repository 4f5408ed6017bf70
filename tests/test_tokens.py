"""Durations, sizes, tokens and positions: properties and refusals that the golden vectors do not cover."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from openltx.samplers.shapes import (
    ScaleFactors,
    VideoGrid,
    audio_latent_frames,
    automatic_frames,
    even_keyframes,
    frames_from_seconds,
    latent_grid,
    pixel_frames,
    scale_factors,
    snap_frames,
    snap_size,
)
from openltx.samplers.tokens import (
    audio_positions,
    first_frame_marks,
    in_seconds,
    patchify_audio,
    patchify_video,
    unpatchify_audio,
    unpatchify_video,
    video_pixel_bounds,
    video_positions,
)

FRAMES = st.integers(1, 5000)
FPS = st.floats(1, 240)


@given(FRAMES)
def test_snapped_frames_are_the_largest_of_the_grid_below(frames: int) -> None:
    snapped = snap_frames(frames)
    assert snapped % 8 == 1
    assert snapped <= frames < snapped + 8
    assert pixel_frames(latent_grid(frames, 32, 32).frames) == snapped


@given(st.floats(0, 60), FPS)
def test_automatic_durations_stay_within_their_bounds(seconds: float, fps: float) -> None:
    frames = automatic_frames(seconds, fps)
    assert round(fps) <= frames <= round(20 * fps)


def test_a_bound_off_the_grid_comes_back_as_it_is() -> None:
    assert frames_from_seconds(1, 10, min_frames=10, max_frames=12) == 12


@given(FRAMES, FPS)
def test_audio_is_as_long_as_the_video(frames: int, fps: float) -> None:
    assert abs(audio_latent_frames(frames, fps) / 25 - frames / fps) <= 0.02 + 1e-9


def test_audio_lengths_round_half_to_even() -> None:
    assert [audio_latent_frames(frames, 50) for frames in (1, 3, 5)] == [0, 2, 2]


@given(st.integers(1, 8000), st.sampled_from([32, 64]))
def test_sizes_snap_to_a_multiple_but_never_to_nothing(pixels: int, multiple: int) -> None:
    snapped = snap_size(pixels, multiple=multiple)
    assert snapped % multiple == 0
    assert snapped >= multiple
    assert snapped <= max(pixels, multiple)


def test_scale_factors_follow_from_the_blocks_of_the_vae() -> None:
    assert scale_factors([]) == ScaleFactors(time=8, space=32)
    blocks = ["res_x", "compress_space_res", "compress_time_res", "compress_all_res", "compress_all_res", "res_x_y"]
    assert scale_factors(blocks) == ScaleFactors(time=8, space=32)
    assert scale_factors(["compress_all"], patch_size=2) == ScaleFactors(time=2, space=4)


@given(st.integers(1, 40), st.integers(3, 2000))
def test_even_keyframes_lie_inside_and_rise(count: int, frames: int) -> None:
    if frames < count + 2:
        with pytest.raises(ValueError, match="keyframes"):
            even_keyframes(count, frames)
        return
    positions = even_keyframes(count, frames)
    assert len(positions) == count
    assert positions == sorted(set(positions))
    assert positions[0] > 0
    assert positions[-1] < frames - 1


@given(st.integers(1, 2), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2))
def test_unpatchify_inverts_patchify(channels: int, frames: int, height: int, width: int, patch: int) -> None:
    latent = torch.randn(2, channels, frames, height * patch, width * patch)
    grid = VideoGrid(*latent.shape[2:])
    assert torch.equal(unpatchify_video(patchify_video(latent, patch=patch), grid, patch=patch), latent)
    audio = torch.randn(2, channels, frames, height)
    assert torch.equal(unpatchify_audio(patchify_audio(audio), channels=channels), audio)


@given(st.integers(1, 20), st.floats(1, 240))
def test_times_follow_each_other_without_gap(frames: int, fps: float) -> None:
    seconds = video_positions(VideoGrid(frames, 1, 1), fps)[0, 0]
    assert seconds[0, 0] == 0
    assert torch.equal(seconds[1:, 0], seconds[:-1, 1])
    assert seconds[-1, 1] == torch.tensor(float(pixel_frames(frames))) / torch.tensor(fps, dtype=torch.float32)


def test_audio_before_the_clip_stops_at_zero_only_when_causal() -> None:
    assert audio_positions(3, shift=-2)[0, 0].tolist() == [[0, 0], [0, 0], [0, pytest.approx(0.01)]]
    assert audio_positions(3, shift=-2, causal=False)[0, 0, 0].tolist() == pytest.approx([-0.08, -0.04])


def test_converting_bounds_leaves_them_alone() -> None:
    bounds = video_pixel_bounds(VideoGrid(2, 1, 1)).float()
    before = bounds.clone()
    in_seconds(bounds, 24)
    assert torch.equal(bounds, before)


def test_marks_cover_the_first_latent_frame_only() -> None:
    marks = first_frame_marks(VideoGrid(3, 2, 4), batch=2)
    assert marks.shape == (2, 24, 1)
    assert marks[:, :8].all()
    assert not marks[:, 8:].any()


def test_refusals_name_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="frames: expected at least 1, found 0"):
        snap_frames(0)
    with pytest.raises(ValueError, match="fps: expected a positive number, found 0"):
        video_positions(VideoGrid(1, 1, 1), 0)
    with pytest.raises(ValueError, match="fps"):
        audio_latent_frames(9, -1)
    with pytest.raises(ValueError, match="32x32 pixels, found 9 of 31x64"):
        latent_grid(9, 64, 31)
    with pytest.raises(ValueError, match="min_frames <= max_frames"):
        frames_from_seconds(1, 24, min_frames=20, max_frames=10)
    with pytest.raises(ValueError, match="video latent: expected 5 axes"):
        patchify_video(torch.zeros(1, 2, 3, 4))
    with pytest.raises(ValueError, match="multiples of 2"):
        patchify_video(torch.zeros(1, 2, 1, 3, 4), patch=2)
    with pytest.raises(ValueError, match="drop appended tokens first"):
        unpatchify_video(torch.zeros(1, 9, 2), VideoGrid(2, 2, 2))
    with pytest.raises(ValueError, match="multiples of 8"):
        unpatchify_audio(torch.zeros(1, 3, 12))
