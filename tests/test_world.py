"""The small world: the same for the same seed, true to its own caption, held-out combinations kept apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from openltx.networks.audio_vae import log_mel
from openltx.training.world import is_held_out, make_clip, sample_scene, samples_of
from openltx.training.world.picture import draw_frames
from openltx.training.world.scene import COLOURS, CONTACT, MOTIONS, SHAPES


def test_a_seed_is_a_clip() -> None:
    first, second = (make_clip(sample_scene(3), frames=9, height=64, width=64) for _ in range(2))
    assert torch.equal(first.frames, second.frames)
    assert torch.equal(first.waveform, second.waveform)
    assert first.caption == second.caption
    assert not torch.equal(first.frames, make_clip(sample_scene(4), frames=9, height=64, width=64).frames)


def test_frames_do_not_depend_on_where_drawing_begins() -> None:
    scene = sample_scene(5)
    whole = draw_frames(scene, frames=12, height=64, width=64)
    assert np.array_equal(whole[4:9], draw_frames(scene, frames=5, height=64, width=64, first=4))


@pytest.mark.parametrize("seed", range(40))
def test_everything_stays_in_the_picture_and_in_range(seed: int) -> None:
    scene = sample_scene(seed)
    centres = scene.centres(np.arange(49) / 24)
    assert centres[..., 0].min() > scene.radius - 0.02
    assert centres[..., 0].max() < 1 - scene.radius + 0.02
    assert centres[..., 1].max() < CONTACT - scene.radius + 1e-6
    clip = make_clip(scene, frames=9, height=32, width=32)
    assert 0 <= float(clip.frames.min()) <= float(clip.frames.max()) <= 1
    assert float(clip.waveform.abs().max()) <= 1


def test_an_event_is_a_contact_or_an_appearance() -> None:
    for scene in (sample_scene(seed) for seed in range(60)):
        events = scene.events(2.0)
        if scene.motion == "bounces":
            heights = scene.centres(np.array(events))[..., 1]
            assert np.allclose(heights, CONTACT - scene.radius)
        elif scene.motion == "blinks":
            assert not scene.visible(np.array(events) - 1e-3).any()
            assert scene.visible(np.array(events) + 1e-3).all()
        else:
            assert events == []


def test_captions_tell_what_is_there() -> None:
    scenes = [sample_scene(seed, held_out=True) for seed in range(80)]
    for scene in scenes:
        said = {scene.colour, scene.size, scene.background, scene.motion.split()[0].removesuffix("s")}
        assert all(any(word in part for part in scene.caption.split()) for word in said)
        assert scene.caption.startswith("two" if scene.count == 2 else "a")
    assert {scene.colour for scene in scenes} == set(COLOURS)
    assert {scene.shape for scene in scenes} == set(SHAPES)
    assert {scene.motion for scene in scenes} == set(MOTIONS)


def test_training_never_draws_a_held_out_combination() -> None:
    assert not any(is_held_out(sample_scene(seed)) for seed in range(200))
    assert all(is_held_out(sample_scene(seed, held_out=True)) for seed in range(50))


@pytest.mark.parametrize("frames", [9, 25, 49, 121])
def test_sound_is_as_long_as_its_latent_decodes_to(frames: int) -> None:
    mel = log_mel(torch.zeros(1, 2, samples_of(frames)))
    latents = round(frames / 24 * 25)
    assert mel.shape[2] == 4 * latents - 3


def test_no_clip_is_silent() -> None:
    assert all(
        float(make_clip(sample_scene(seed), height=32, width=32).waveform.abs().max()) > 0.05 for seed in range(40)
    )
