"""The judge: right on ground truth, near chance on another clip's caption, silent about nothing."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from openltx.networks.audio_vae import log_mel
from openltx.training.judge import ATTRIBUTES, audio_events, judge, onset_errors, right
from openltx.training.world import Clip, make_clip, sample_scene
from openltx.training.world.picture import BEYOND, PALETTE

CLIPS = 48
DURATION = 49 / 24


@cache
def clips() -> list[tuple[Clip, Tensor]]:
    made = [make_clip(sample_scene(seed, held_out=seed % 2 == 0)) for seed in range(CLIPS)]
    return [(clip, log_mel(clip.waveform[None])[0]) for clip in made]


def test_it_is_right_on_the_truth() -> None:
    for clip, mel in clips():
        assert all(right(judge(clip.frames, mel), clip.scene).values()), clip.caption


def test_what_is_seen_is_heard_at_the_same_moment() -> None:
    errors = []
    for clip, mel in clips():
        verdict = judge(clip.frames, mel)
        errors += onset_errors(verdict.video_events, verdict.audio_events, DURATION)
        assert not verdict.silent
    assert len(errors) > 30
    assert max(errors) < 0.04


def test_events_are_those_of_the_scene() -> None:
    for clip, mel in clips():
        inner = [event for event in clip.events if 0.04 < event < DURATION - 0.09]
        assert all(error < 0.02 for error in onset_errors(inner, audio_events(mel), DURATION))


def test_another_caption_is_right_by_chance_only() -> None:
    verdicts = [judge(clip.frames, mel) for clip, mel in clips()]
    scenes = [clip.scene for clip, _ in clips()]
    shuffled = [right(verdict, scene) for verdict, scene in zip(verdicts, scenes[1:] + scenes[:1], strict=True)]
    share = {name: sum(row[name] for row in shuffled) / CLIPS for name in ATTRIBUTES}
    assert share["colour"] < 0.5
    assert share["motion"] < 0.5
    assert share["shape"] < 0.6


def test_a_sound_out_of_step_is_noticed() -> None:
    clip, mel = next((clip, mel) for clip, mel in clips() if clip.scene.motion == "bounces")
    late = torch.roll(mel, 20, dims=1)
    verdict = judge(clip.frames, late)
    assert min(onset_errors(verdict.video_events[:1], verdict.audio_events, DURATION) or [1.0]) > 0.1


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_an_empty_picture_and_silence_have_nothing_in_them(level: float) -> None:
    verdict = judge(torch.full((9, 64, 64, 3), level), torch.full((2, 37, 64), -11.5))
    assert (verdict.colour, verdict.shape, verdict.size, verdict.count, verdict.motion) == ("none",) * 3 + (0, "none")
    assert verdict.silent
    assert verdict.video_events == verdict.audio_events == ()


def test_a_new_colour_is_seen_with_its_palette_and_spoils_no_other() -> None:
    palette = PALETTE | BEYOND
    for clip, mel in clips()[:16]:
        assert judge(clip.frames, mel, palette=palette).colour == clip.scene.colour
        orange = make_clip(replace(clip.scene, colour="orange"))
        assert "orange" in orange.caption
        assert judge(orange.frames, mel, palette=palette).colour == "orange"
        assert judge(orange.frames, mel).colour != "orange"
