"""States in ComfyUI's form and back: what a network of ComfyUI is shown is what ours would be."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from openltx.samplers.community import community_latent, community_of, community_options, community_states
from openltx.samplers.conditioning import (
    ConditioningItem,
    GivenStream,
    Keyframe,
    KeyframeSlots,
    LatentReplacement,
    ReferenceAudio,
    ReferenceFactors,
    ReferenceVideo,
    TemporalRegions,
    apply_items,
)
from openltx.samplers.long_video.handover import AudioBefore
from openltx.samplers.state import StreamState, audio_state, video_state
from openltx.samplers.streams import Streams


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def states_with(video: Sequence[ConditioningItem] = (), audio: Sequence[ConditioningItem] = ()) -> Streams[StreamState]:
    return Streams(
        video=apply_items(video_state(randn(1, 5, 3, 2, 4), 24.0), video, slots_supported=True),
        audio=apply_items(audio_state(randn(1, 2, 9, 4, seed=1)), audio, slots_supported=True),
    )


def through(states: Streams[StreamState]) -> Streams[StreamState]:
    """As ComfyUI would hold them, read again from the LATENT and the CONDITIONING."""
    form = community_of(states)
    return community_states(community_latent(form.samples, form.noise_mask, community_options(form))).seen


PICTURE = randn(1, 5, 1, 2, 4, seed=2)
SMALL = randn(1, 5, 3, 1, 2, seed=3)
VOICE = randn(1, 2, 4, 4, seed=4)
REGION = TemporalRegions(regions=((0.2, 0.5),))
CASES: dict[str, tuple[Sequence[ConditioningItem], Sequence[ConditioningItem]]] = {
    "nothing": ((), ()),
    "first frame": ((LatentReplacement(latent=PICTURE, strength=0.7),), ()),
    "keyframes": ((Keyframe(latent=PICTURE, frame=8), Keyframe(latent=PICTURE, frame=16, strength=0.5)), ()),
    "weak guide": ((Keyframe(latent=PICTURE, frame=8, attention=0.25),), ()),
    "small reference": ((ReferenceVideo(latent=SMALL, factors=ReferenceFactors(space=2), attention=0.5),), ()),
    "retake": ((REGION,), (REGION,)),
    "given sound": ((), (GivenStream(latent=randn(1, 2, 9, 4, seed=6)),)),
    "voice": ((), (ReferenceAudio(latent=VOICE),)),
}


@pytest.mark.parametrize("name", CASES)
def test_there_and_back(name: str) -> None:
    states = states_with(*CASES[name])
    found = through(states)
    for one, other in zip(states.present(), found.present(), strict=True):
        assert torch.equal(torch.where(one.mask == 1, one.latent, one.clean), other.clean)
        assert torch.allclose(one.mask, other.mask)
        assert torch.allclose(one.positions, other.positions, atol=1e-5)
        assert one.grid_tokens == other.grid_tokens
        assert (one.attention is None) == (other.attention is None)
        if one.attention is not None and other.attention is not None:
            assert torch.allclose(one.attention.dense(), other.attention.dense())
    assert found.video is not None
    assert states.video is not None
    assert torch.equal(found.video.keyframe_marks, states.video.keyframe_marks)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("items", "text"),
    [
        ((KeyframeSlots(positions=(0, 8)),), "keyframe slots: expected none on ComfyUI's own model"),
        (
            (Keyframe(latent=PICTURE, frame=8), Keyframe(latent=PICTURE, frame=16, attention=0.5)),
            "attention strength: expected a single conditioning item",
        ),
    ],
)
def test_what_it_cannot_say_is_refused(items: Sequence[ConditioningItem], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        community_of(states_with(items))


def test_sound_right_before_the_start_becomes_a_voice() -> None:
    states = states_with((), (AudioBefore(latent=VOICE),))
    found = through(states)
    assert states.audio is not None
    assert found.audio is not None
    moved = states.audio.positions - found.audio.positions
    assert torch.allclose(moved[:, :, :9], torch.zeros(()))
    assert 0 < float(moved[:, :, 9:].abs().max()) < 0.041
    assert torch.equal(found.audio.clean, states.audio.clean)


def test_sound_appended_elsewhere_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one reference voice"):
        community_of(states_with((), (ReferenceAudio(latent=VOICE), ReferenceAudio(latent=VOICE))))
    with pytest.raises(ValueError, match="expected one reference voice at strength 1"):
        community_of(states_with((), (ReferenceAudio(latent=VOICE, strength=0.5),)))
