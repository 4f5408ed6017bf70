"""A stage on a LATENT as ComfyUI's nodes make it: masks, guide frames, frame rates."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from openltx.nodes.conditioning import EncodePrompt
from openltx.nodes.given_items import FreezeStream
from openltx.nodes.host.api import NestedTensor
from openltx.nodes.join import JoinAV, SplitAV
from openltx.nodes.latents import EmptyAVLatent, Latent, items_of, masks_of, members
from openltx.nodes.load import INSIDE, LoadModel
from openltx.nodes.sample import Sample
from openltx.nodes.start import start_of

CPU, SIGMAS = torch.device("cpu"), torch.tensor([1.0, 0.5, 0.0])


@pytest.fixture(scope="module")
def parts() -> Any:
    return LoadModel.execute("openltx-tiny-2.3.safetensors", INSIDE, "float32").args


@pytest.fixture(scope="module")
def prompt(parts: Any) -> Any:
    with torch.inference_mode():
        return EncodePrompt.execute(parts[1], "a ball").args[0]


@pytest.fixture
def latent(parts: Any) -> Latent:
    """Random content, at 24 frames a second."""
    empty: Latent = EmptyAVLatent.execute(parts[0], 64, 64, 17, 24.0).args[0]
    generator = torch.Generator().manual_seed(1)
    drawn = [torch.randn(member.shape, generator=generator) for member in members(empty).present()]
    return {**empty, "samples": NestedTensor(drawn)}


def sampled(parts: Any, prompt: Any, latent: Latent) -> Any:
    with torch.inference_mode():
        return members(Sample.execute(parts[0], prompt, latent, SIGMAS, 3, 1.0, 1.0).args[0])


def test_a_noise_mask_keeps_what_it_covers(parts: Any, prompt: Any, latent: Latent) -> None:
    """A plain mask is the picture's, of any size; the sound is generated."""
    mask = torch.ones(3, 64, 64)
    mask[0] = 0
    given, found = members(latent), sampled(parts, prompt, {**latent, "noise_mask": mask})
    assert torch.equal(found.video[:, :, 0], given.video[:, :, 0])  # type: ignore[index]
    assert not torch.allclose(found.video[:, :, 1:], given.video[:, :, 1:], atol=0.1)  # type: ignore[index]
    assert not torch.allclose(found.audio, given.audio, atol=0.1)  # type: ignore[arg-type]


def test_a_stream_that_is_masked_wholly_is_frozen_as_by_our_own_node(parts: Any, prompt: Any, latent: Latent) -> None:
    pair = members(latent)
    masks = NestedTensor([torch.ones(1, 1, 3, 1, 1), torch.zeros(1, 1, pair.audio.shape[2], 1)])  # type: ignore[union-attr]
    masked = sampled(parts, prompt, {**latent, "noise_mask": masks})
    frozen = sampled(parts, prompt, FreezeStream.execute(latent, "audio").args[0])
    assert torch.equal(masked.video, frozen.video)
    assert torch.equal(masked.audio, frozen.audio)


def test_masks_are_joined_and_split_with_their_streams(latent: Latent) -> None:
    video, audio = SplitAV.execute({**latent, "noise_mask": torch.zeros(1, 1, 3, 2, 2)}).args
    assert tuple(video["noise_mask"].shape) == (1, 1, 3, 2, 2)
    assert "noise_mask" not in audio
    joined = JoinAV.execute(video, audio).args[0]
    masks = masks_of(joined)
    assert masks.video is not None
    assert masks.audio is not None
    assert not masks.video.any()
    assert bool((masks.audio == 1).all())
    assert masks_of(JoinAV.execute(SplitAV.execute(latent).args[0], audio).args[0]).present() == []


def test_the_frame_rate_may_come_with_the_prompt(parts: Any, prompt: Any, latent: Latent) -> None:
    bare = {"samples": latent["samples"]}
    with pytest.raises(ValueError, match=r"no frame rate; start from Empty AV Latent \(LTX\), or connect LTXVCond"):
        start_of(bare, prompt, parts[0], CPU)
    timed = [[prompt[0][0], {**prompt[0][1], "frame_rate": 24.0}]]
    assert start_of(bare, timed, parts[0], CPU).rate == 24.0
    other = [[prompt[0][0], {**prompt[0][1], "frame_rate": 25.0}]]
    with pytest.raises(ValueError, match="expected 24 a second as in the latent, found 25 in the conditioning"):
        start_of(latent, other, parts[0], CPU)
    with pytest.raises(ValueError, match="audio: expected a latent of"):
        start_of(bare, [[prompt[0][0], {"frame_rate": 12.0}]], parts[0], CPU)


def test_guides_of_comfyui_beside_our_items_are_refused(parts: Any, prompt: Any, latent: Latent) -> None:
    frozen = FreezeStream.execute(latent, "audio").args[0]
    assert items_of(frozen).audio
    voiced = [[prompt[0][0], {"ref_audio": {"tokens": torch.zeros(1, 2, 32)}}]]
    with pytest.raises(ValueError, match="either guides of LTXVAddGuide .* found both; use one kind"):
        start_of(frozen, voiced, parts[0], CPU)
