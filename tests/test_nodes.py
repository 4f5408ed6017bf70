"""Nodes, where a graph reaches them with something odd on a wire."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from openltx.nodes.conditioning import GENERATION, EncodePrompt, contexts_of
from openltx.nodes.decode import DecodeAudio, DecodeVideo
from openltx.nodes.host.api import NestedTensor, io
from openltx.nodes.latents import EmptyAVLatent, frame_rate_of, members
from openltx.nodes.load import INSIDE, LoadModel
from openltx.nodes.registry import NODES
from openltx.nodes.sample import Sample
from openltx.nodes.save import stereo
from openltx.nodes.schedule import DistilledSchedule, Schedule


@pytest.fixture(scope="module")
def parts() -> Any:
    return LoadModel.execute("openltx-tiny-2.3.safetensors", INSIDE, "float32").args


@pytest.fixture(scope="module")
def latent(parts: Any) -> Any:
    return EmptyAVLatent.execute(parts[0], 64, 32, 9, 24.0).args[0]


def test_every_node_says_what_it_is_and_what_its_inputs_mean() -> None:
    ids = set()
    for node in NODES:
        schema = node.define_schema()
        assert schema.node_id.startswith("OpenLTX")
        assert schema.category.startswith("OpenLTX/")
        assert schema.description
        ids.add(schema.node_id)
        sockets: list[io.BaseInput | io.BaseOutput] = [*schema.inputs, *schema.outputs]
        for socket in sockets:
            assert socket.tooltip, f"{schema.node_id}: {socket.id} has no tooltip"
    assert len(ids) == len(NODES)


def test_video_and_audio_of_an_empty_latent_last_equally_long(parts: Any) -> None:
    latent, rate, frames = EmptyAVLatent.execute(parts[0], 97, 30, 122, 25.0).args
    pair = members(latent)
    assert pair.video is not None
    assert pair.audio is not None
    assert (rate, frames) == (25.0, 121)
    assert tuple(pair.video.shape) == (1, 32, 16, 1, 3)
    assert tuple(pair.audio.shape) == (1, 2, 121, 16)
    with pytest.raises(ValueError, match="too short for sound"):
        EmptyAVLatent.execute(parts[0], 64, 64, 1, 200.0)


def test_a_latent_of_something_else_is_refused(latent: Any) -> None:
    image, video = torch.zeros(1, 4, 8, 8), torch.zeros(1, 32, 2, 2, 2)
    for samples in (image, NestedTensor([torch.zeros(1, 2, 3, 4)]), NestedTensor([video, image])):
        bad = {"samples": samples}
        with pytest.raises(ValueError, match="expected a video .* and an audio latent"):
            members(bad)
    assert members({"samples": video}).audio is None
    with pytest.raises(ValueError, match="no frame rate"):
        frame_rate_of({"samples": latent["samples"]})


def test_conditioning_of_another_model_is_refused(parts: Any) -> None:
    model = parts[0]
    own = EncodePrompt.execute(parts[1], "a ball").args[0]
    contexts = contexts_of(own, model, "positive")
    assert contexts.video is not None
    assert contexts.video.shape[-1] == 128
    with pytest.raises(ValueError, match=r"positive: expected LTX-2\.3 .* found LTX-2"):
        contexts_of([[own[0][0], {GENERATION: "2"}]], model, "positive")
    with pytest.raises(ValueError, match=r"negative: expected contexts of width 128 \+ 64 .* found 77"):
        contexts_of([[torch.zeros(1, 4, 77), {}]], model, "negative")
    with pytest.raises(ValueError, match="one conditioning entry, found 2"):
        contexts_of(own + own, model, "positive")


def test_guidance_without_a_negative_prompt_is_refused(parts: Any, latent: Any) -> None:
    positive = EncodePrompt.execute(parts[1], "a ball").args[0]
    sigmas = DistilledSchedule.execute("stage 2").args[0]
    with pytest.raises(ValueError, match="needs a negative prompt"):
        Sample.execute(parts[0], positive, latent, sigmas, 1, 3.0, 1.0)
    with pytest.raises(ValueError, match="sigmas"):
        Sample.execute(parts[0], positive, latent, torch.zeros(0), 1, 1.0, 1.0)


def test_a_stage_goes_through_and_refines_its_own_result(parts: Any, latent: Any) -> None:
    with torch.inference_mode():
        positive = EncodePrompt.execute(parts[1], "a ball").args[0]
        sigmas = Schedule.execute(2, 2.05, 0.95, True, 0.1, latent).args[0]
        first = Sample.execute(parts[0], positive, latent, sigmas, 1, 1.0, 1.0).args[0]
        again = Sample.execute(parts[0], positive, latent, sigmas, 1, 1.0, 1.0).args[0]
        refined = Sample.execute(parts[0], positive, first, torch.tensor([0.2, 0.0]), 1, 1.0, 1.0).args[0]
        images = DecodeVideo.execute(parts[2], refined).args[0]
        sound = DecodeAudio.execute(parts[3], refined).args[0]
    one, two, three = (members(item) for item in (first, again, refined))
    assert one.video is not None
    assert two.video is not None
    assert three.video is not None
    assert torch.equal(one.video, two.video)
    change = (three.video - one.video).std() / one.video.std()
    assert 0.0 < float(change) < 0.7  # sigma 0.2 keeps most of what was there
    assert tuple(images.shape) == (9, 32, 64, 3)
    assert tuple(sound["waveform"].shape) == (1, 2, 33 * 480)
    assert sound["sample_rate"] == 48000
    assert latent["samples"].unbind()[0].abs().sum() == 0, "an input was changed in place"


def test_sound_for_a_file_is_stereo() -> None:
    assert stereo(torch.ones(1, 5)).shape == (2, 5)
    with pytest.raises(ValueError, match="one or two channels, found 6"):
        stereo(torch.ones(6, 5))
