"""Nodes, where a graph reaches them with something odd on a wire."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from openltx.media.images import prepare_image
from openltx.model_loaders import parts as parts_module
from openltx.model_loaders.video_vae import load_any_video_decoder
from openltx.nodes.conditioning import EncodePrompt
from openltx.nodes.contexts import contexts_of
from openltx.nodes.decode import DecodeAudio, DecodeKeyframes, DecodeVideo
from openltx.nodes.encode import EncodeAudio
from openltx.nodes.generations import GENERATION
from openltx.nodes.given_items import GivenAudio, GivenVideo, ReferenceVoice
from openltx.nodes.guide import NO_GUIDANCE, Guider, preset_guidance
from openltx.nodes.host.api import NestedTensor, io
from openltx.nodes.image_items import ConditionImage, ConditionReference, ConditionSlots, _prepared
from openltx.nodes.join import JoinAV
from openltx.nodes.latents import EmptyAVLatent, frame_rate_of, members
from openltx.nodes.load import INSIDE, LoadModel
from openltx.nodes.mask_items import ConditionInpaint, ConditionRetake, fitted_mask
from openltx.nodes.registry import NODES
from openltx.nodes.rendering import RenderKeyframes
from openltx.nodes.sample import Sample
from openltx.nodes.save import stereo
from openltx.nodes.schedule import DistilledSchedule, NamedSchedule, Schedule
from openltx.samplers.guidance import Guidance, default_guidance


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
    assert contexts.video.shape[-1] == 192
    with pytest.raises(ValueError, match=r"positive: expected LTX-2\.3 .* found LTX-2"):
        Guider(model=model, positive=[[own[0][0], {GENERATION: "2"}]], guidance=NO_GUIDANCE)
    with pytest.raises(ValueError, match=r"negative: expected contexts of width 192 \+ 96, found 77"):
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


def test_items_that_do_not_fit_are_one_line(parts: Any, latent: Any) -> None:
    picture = torch.zeros(1, 32, 64, 3)

    def pin(latent: Any, frame: int, placement: str = "recipe") -> Any:
        return ConditionImage.execute(latent, parts[2], picture, frame, 1.0, placement, 0).args[0]

    with pytest.raises(ValueError, match=r"keyframe: expected a frame from 0 to 8 .* found 9; move it into the clip"):
        pin(latent, 9)
    with pytest.raises(ValueError, match="items 1 and 2 both claim frame 4 at full strength; move one"):
        pin(pin(latent, 4), 4)
    with pytest.raises(ValueError, match="both claim frame 8"):
        pin(pin(latent, 3, "replace"), -1)
    clip, mask = torch.zeros(9, 40, 80, 3), torch.zeros(1, 40, 40)
    text = r"mask: expected 1 or 9 frames of 80x40 pixels, as the clip has, found 1 of 40x40; draw it"
    with pytest.raises(ValueError, match=text):
        ConditionInpaint.execute(latent, parts[2], clip, mask, 1.0, "max")
    with pytest.raises(ValueError, match="images: expected at least 9 frames, found 8"):
        ConditionInpaint.execute(latent, parts[2], clip[:8], mask, 1.0, "max")
    with pytest.raises(ValueError, match="multiples of 64 pixels for a factor of 2, found 64x32"):
        ConditionReference.execute(latent, 2, 1, 1.0, 1.0, video_vae=parts[2], images=clip)
    with pytest.raises(ValueError, match="reference video: expected a latent, or a clip and a video VAE"):
        ConditionReference.execute(latent, 1, 1, 1.0, 1.0)
    with pytest.raises(ValueError, match="reference voice: expected a latent, or sound"):
        ReferenceVoice.execute(latent, 1.0)
    with pytest.raises(ValueError, match="images: expected at least 9 frames, found 1"):
        GivenVideo.execute(latent, parts[2], picture)
    with pytest.raises(ValueError, match="frames: expected whole numbers .* found 'two'"):
        ConditionSlots.execute(latent, "two", 1)
    with pytest.raises(ValueError, match="keyframes: expected the keyframes of a stage with slots"):
        ConditionSlots.execute(latent, "", 1, seeds=latent)
    with pytest.raises(ValueError, match="keyframes: expected generated keyframes, found none; add slots"):
        DecodeKeyframes.execute(parts[2], None)
    with pytest.raises(ValueError, match="audio: expected sound, found a silent clip"):
        EncodeAudio.execute(parts[3], None)
    with pytest.raises(ValueError, match="audio: expected sound, found a silent clip"):
        GivenAudio.execute(latent, parts[3], None)
    with pytest.raises(ValueError, match="latent: expected a tile from Render Tile"):
        RenderKeyframes.execute(latent, 0.95)
    retake = ConditionRetake.execute(latent, 7.0, 8.0, "video and audio").args[0]
    with pytest.raises(ValueError, match=r"retake: expected a region within the clip .* found 7 to 8 s"):
        _sample(parts, retake)


def test_slots_need_a_model_that_makes_keyframes(parts: Any, latent: Any) -> None:
    slotted, shown = ConditionSlots.execute(latent, "", 2).args
    assert shown == "frame 3 (0.125 s), frame 5 (0.208 s)"
    with pytest.raises(ValueError, match="this model cannot generate keyframes; use an LTX-2.5 model"):
        _sample(parts, slotted)


def test_a_mask_is_cropped_as_its_clip_is(parts: Any) -> None:
    """A clip of 96 x 32 for a stage of 32 x 32: only the middle third is seen, in the picture and in the mask."""
    mask = torch.zeros(1, 32, 96)
    mask[..., :32] = 1
    assert fitted_mask(mask, torch.zeros(9, 32, 96, 3), 32, 32).sum() == 0
    mask[..., 48:] = 1
    fitted = fitted_mask(mask, torch.zeros(9, 32, 96, 3), 32, 32)
    assert fitted[0, :, 16:].min() == 1
    assert fitted[0, :, :16].max() == 0
    soft = fitted_mask(torch.full((32, 96), 0.25), torch.zeros(9, 32, 96, 3), 32, 32)
    assert torch.allclose(soft, torch.tensor(0.25))


def test_sound_of_another_duration_is_refused(parts: Any, latent: Any) -> None:
    long = {"samples": torch.zeros(1, parts[0].audio_channels, 30, 16)}
    text = r"audio: expected a latent of 9 frames \(0\.36 s\) beside 9 pictures at 24 a second, found 30 \(1\.20 s\)"
    with pytest.raises(ValueError, match=text):
        JoinAV.execute(latent, long)
    pair = {**latent, "samples": NestedTensor([members(latent).video, long["samples"]])}  # type: ignore[list-item]
    with pytest.raises(ValueError, match=text):
        _sample(parts, pair)
    sound = {"waveform": torch.zeros(1, 2, 48000), "sample_rate": 16000}
    for seconds in (0.2, 3.0):
        cut = {**sound, "waveform": sound["waveform"][..., : int(seconds * 16000)]}  # type: ignore[index]
        fitted = EncodeAudio.execute(parts[3], cut, latent).args[0]
        assert fitted["samples"].shape[2] == 9


@pytest.mark.parametrize("values", ["", "0.5", "0.5, 0.7, 0", "0.7, 0.7, 0", "2, 1, 0", "1, -1", "1, x"])
def test_bad_sigmas_are_one_line(values: str) -> None:
    with pytest.raises(ValueError, match="sigmas: expected") as error:
        NamedSchedule.execute("manual", 1, values)
    assert "\n" not in str(error.value)


def test_guidance_on_a_distilled_model_is_warned_of(
    parts: Any, latent: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    path = parts[0].path.with_name("ltx-2.3-22b-distilled.safetensors")
    renamed = replace(parts[0], path=path, training="distilled")
    _sample((renamed, *parts[1:]), latent, cfg=3.0)
    assert "ltx-2.3-22b-distilled.safetensors is distilled, which needs no guidance, and cfg is 3" in (
        capsys.readouterr().err
    )
    _sample((renamed, *parts[1:]), latent)
    _sample(parts, latent, cfg=3.0)
    assert "distilled" not in capsys.readouterr().err


def test_official_blocks_follow_the_depth_of_the_model(parts: Any) -> None:
    official = preset_guidance("official", parts[0])
    assert official.video is not None
    assert official.video.stg_blocks == frozenset({28 * parts[0].config.num_layers // 48})
    full = replace(parts[0], config=replace(parts[0].config, num_layers=48))
    assert preset_guidance("official", full) == default_guidance("2.3")
    assert preset_guidance("official", replace(full, generation="2")).audio == default_guidance("2").audio
    given = preset_guidance("official, sound given", full)
    assert (given.video, given.audio) == (default_guidance("2.3").video, Guidance())


def _sample(parts: Any, latent: Any, cfg: float = 1.0) -> Any:
    """Three steps of the second stage's table."""
    with torch.inference_mode():
        texts = [EncodePrompt.execute(parts[1], text).args[0] for text in ("a ball", "noise")]
        return Sample.execute(parts[0], texts[0], latent, torch.tensor([0.9, 0.6, 0.3, 0.0]), 1, cfg, 1.0, texts[1])


def test_pictures_keep_their_bits_where_nothing_compresses_them() -> None:
    ramp = torch.linspace(0, 1, 32 * 64).reshape(1, 32, 64, 1).expand(-1, -1, -1, 3)
    exact = _prepared(ramp, 32, 64, crf=0)
    assert torch.allclose(exact, ramp.permute(3, 0, 1, 2)[None] * 2 - 1, atol=1e-6)
    assert len(set(_prepared(ramp, 32, 64, crf=18).flatten().tolist())) < 1000
    codes = (torch.arange(256) / 255).reshape(1, 16, 16, 1).expand(-1, -1, -1, 3)
    as_bytes = prepare_image((codes[0] * 255).round().byte().numpy(), 16, 16, crf=0)
    assert torch.allclose(_prepared(codes, 16, 16, crf=0), as_bytes, atol=1e-6)  # the file path's values


def test_the_decoder_of_float32_is_read_once(latent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And it is another one than the loader's, whose numbers stay as they are."""
    read = Mock(wraps=load_any_video_decoder)
    monkeypatch.setattr(parts_module, "load_any_video_decoder", read)
    vae = LoadModel.execute("openltx-tiny-2.3.safetensors", INSIDE, "bfloat16").args[2]
    frames = [DecodeVideo.execute(vae, latent, choice).args[0] for choice in ("float32", "of the loader") * 2]
    assert read.call_count == 2
    assert torch.equal(frames[0], frames[2])
    assert torch.equal(frames[1], frames[3])
    assert not torch.equal(frames[0], frames[1])


def test_sound_for_a_file_is_stereo() -> None:
    assert stereo(torch.ones(1, 5)).tolist() == [[1.0] * 5] * 2
    surround = torch.zeros(6, 5)
    surround[2] = 1.0  # the centre, on both sides (audio.md 3.1)
    assert torch.allclose(stereo(surround), torch.full((2, 5), 0.707 / 2.414))
