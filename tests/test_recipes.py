"""Every bundled workflow runs on the embedded model at tiny sizes, and keeps what it was given."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from PIL import Image
from torch import Tensor

from openltx.api import load_workflow, run, workflow_names
from openltx.conformance.recipes import Recipe, Socket
from openltx.media.av_reader import read_sound
from openltx.model_loaders.checkpoint import Checkpoint
from openltx.model_loaders.one_stream import only_stream
from openltx.model_loaders.parts import open_model
from openltx.nodes.core import CORE_NODES
from openltx.nodes.host.standalone.executor import Cache
from openltx.nodes.host.standalone.schema import registry_of, schema_of
from openltx.nodes.host.standalone.validate import validate
from openltx.nodes.host.standalone.workflow import exposed_inputs
from openltx.nodes.image_items import ConditionImage
from openltx.nodes.latents import EmptyAVLatent, items_of, members
from openltx.nodes.load import INSIDE, LoadModel
from openltx.nodes.noise import NextNoise, SeededNoise
from openltx.nodes.registry import NODES
from openltx.samplers.conditioning import apply_items
from openltx.samplers.state import video_state
from openltx.tests import small_workflows as small
from openltx.tests.small_workflows import CHECKPOINT, small_inputs


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = small.make_media(tmp_path_factory.mktemp("media"))
    return made


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = small.make_models(tmp_path_factory.mktemp("models"))
    return made


@pytest.mark.parametrize("name", workflow_names())
def test_it_runs_and_saves_what_plays(name: str, media: Path, models: Path, tmp_path: Path) -> None:
    result = run(name, output_folder=tmp_path, models=[models], device="cpu", **small_inputs(name, media))
    if name == "hdr":
        assert len(list(tmp_path.glob("*_exr/*.exr"))) == 17
        return
    assert result.files
    for file in result.files:
        if file.suffix == ".png":
            assert (Image.open(file).size == (32, 32)) is (name != "shots_plan")
            continue
        sound = read_sound(file)
        assert sound is not None
        assert sound.waveform.shape[0] == 2
        if file.suffix == ".mp4":
            with av.open(str(file)) as container:
                video = container.streams.video[0]
                seconds = video.frames / float(video.average_rate or 1)
            assert abs(sound.waveform.shape[1] / sound.sample_rate - seconds) < 0.1


@pytest.mark.parametrize("name", workflow_names())
def test_it_validates_and_says_what_may_be_set(name: str, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from openltx.nodes.host.standalone.settings import Settings, model_folders_below, use

    prompt = load_workflow(name)
    with use(Settings(model_folders=model_folders_below(models))):
        report = validate(prompt, registry_of([*NODES, *CORE_NODES]))
    assert report.problems == []
    assert report.warnings == []
    assert set(report.order) == set(prompt), "a node that nothing needs"
    exposed = exposed_inputs(prompt)
    assert ({"shots"} if name.startswith("shots") else {"prompt", "seed"}) <= exposed.keys()
    assert all(title["_meta"]["title"] for title in prompt.values())


def test_only_the_standalone_host_has_the_core_nodes() -> None:
    assert not {schema_of(node).node_id for node in CORE_NODES} & {schema_of(node).node_id for node in NODES}


def recipe(name: str, media: Path, **settings: Any) -> Recipe:
    """The workflow at tiny sizes: `settings` by title, with `_` for blanks."""
    made = Recipe(prompt=load_workflow(name))
    for option, exposed in exposed_inputs(made.prompt).items():
        value = small_inputs(name, media).get(option)
        if value is not None:
            made.prompt[exposed.node_id]["inputs"][exposed.input] = str(value) if isinstance(value, Path) else value
    for title, inputs in settings.items():
        made.set(title.replace("_", " "), **inputs)
    return made


def video(latent: Any) -> Tensor:
    found = members(latent).video
    assert found is not None
    return found


def audio(latent: Any) -> Tensor:
    found = members(latent).audio
    assert found is not None
    return found


def values(made: Recipe, /, **wanted: Socket) -> dict[str, Any]:
    return made.run("cpu", **wanted)


def test_the_given_picture_is_the_first_frame(media: Path) -> None:
    found = values(recipe("image_to_av", media), given=("First Frame", 0), made=("Stage", 0))
    (item,) = items_of(found["given"]).video or ()
    latent = video(found["made"])
    assert torch.equal(latent[:, :, :1], item.latent)  # type: ignore[attr-defined]
    assert not items_of(found["made"]).video


def test_given_sound_stays_as_it_is_through_both_stages(media: Path) -> None:
    found = values(recipe("audio_to_video", media), given=("Given Sound", 0), made=("Stage 2", 0))
    (item,) = items_of(found["given"]).audio or ()
    assert torch.equal(audio(found["made"]), item.latent)  # type: ignore[attr-defined]


def test_a_given_clip_stays_as_it_is(media: Path) -> None:
    found = values(recipe("video_to_audio", media), given=("Given Picture", 0), made=("Stage", 0))
    (item,) = items_of(found["given"]).video or ()
    assert torch.equal(video(found["made"]), item.latent)  # type: ignore[attr-defined]


def test_the_dub_keeps_the_speech_of_its_first_stage(media: Path) -> None:
    found = values(recipe("dub", media), speech=("Stage 1", 0), made=("Stage 2", 0))
    assert torch.equal(audio(found["made"]), audio(found["speech"]))


@pytest.mark.parametrize("streams", ["video and audio", "video", "audio"])
def test_a_retake_changes_its_region_and_nothing_else(media: Path, streams: str) -> None:
    made = recipe("retake", media, Retake={"start": 0.1, "end": 0.3, "streams": streams})
    found = values(made, source=("Source", 0), made=("Stage", 0))
    frames = (video(found["made"]) != video(found["source"])).flatten(3).any(dim=3).any(dim=1)[0]
    # Frames 2.4 to 7.2 of 24 a second: latent frame 1 holds the pictures 1 to 8, and 0.1 to 0.3 s touch sound 3 to 8.
    assert frames.tolist() == [False, streams != "audio", False]
    sounds = (audio(found["made"]) != audio(found["source"])).any(dim=3).any(dim=1)[0]
    expected = [streams != "video" and 3 <= index <= 8 for index in range(len(sounds))]
    assert sounds.tolist() == expected


def test_inpainting_changes_masked_cells_and_nothing_else(media: Path) -> None:
    found = values(recipe("inpaint", media), given=("Inpaint", 0), made=("Stage", 0))
    (item,) = items_of(found["given"]).video or ()
    changed = (video(found["made"]) != item.source).any(dim=1)[0]  # type: ignore[attr-defined]
    assert bool(changed[..., 0].all())
    assert not bool(changed[..., 1].any())


def test_sound_alone_is_made_without_the_video_half(media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    load = Checkpoint.load

    def listening(self: Checkpoint, names: list[str]) -> dict[str, Tensor]:
        read.extend(names)
        return load(self, names)

    monkeypatch.setattr(Checkpoint, "load", listening)
    values(recipe("text_to_audio", media), sound=("Decode Audio", 0))
    transformer = [name for name in read if name.startswith("model.diffusion_model.") and "connector" not in name]
    assert transformer
    assert all("audio" in name for name in transformer)
    assert not any(name.startswith("vae.") for name in read)


def test_half_a_model_is_the_whole_one_without_the_other_stream(media: Path) -> None:
    half = values(recipe("text_to_audio", media), made=("Stage", 0))
    whole = recipe("text_to_audio", media)
    for title in ("Size", "Recipe"):
        whole.link(title, "model", ("Model", 0))
    assert torch.equal(audio(half["made"]), audio(values(whole, made=("Stage", 0))["made"]))
    model = open_model(CHECKPOINT, dtype=torch.float32)
    assert only_stream(model, "video").config.audio is None
    assert only_stream(model, "audio").video_channels == 0


@pytest.mark.parametrize("name", ["distilled", "two_stages_community"])
def test_the_same_seed_gives_the_same_bits(name: str, media: Path) -> None:
    first, again, other = (
        video(values(recipe(name, media, Noise={"noise_seed": seed}), made=("Stage 2", 0))["made"])
        for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_stages_do_not_share_random_numbers() -> None:
    first = SeededNoise(2**64 - 1)
    second = NextNoise.execute(first).args[0]
    assert second.seed != first.seed
    assert 0 <= second.seed < 2**64
    assert NextNoise.execute(second).args[0].seed not in (first.seed, second.seed)


@pytest.mark.parametrize("placement", ["recipe", "append", "replace"])
def test_the_frame_that_is_shown_is_the_frame_that_it_binds_to(placement: str) -> None:
    model, _, part, _ = LoadModel.execute(CHECKPOINT.name, INSIDE, "float32").args
    latent = EmptyAVLatent.execute(model, 32, 32, 17, 24.0, "video only").args[0]
    for index in range(-17, 17):
        conditioned, text = ConditionImage.execute(
            latent, part, torch.rand(1, 32, 32, 3), index, 1.0, placement, 0
        ).args
        shown = [int(word) for word in re.findall(r"\d+", text.split("(")[0])]
        state = apply_items(video_state(latent["samples"], 24.0), items_of(conditioned).video or ())
        (given,) = (state.mask[0, :, 0] == 0).nonzero()
        start, end = (state.positions[0, 0, given, :] * 24).round().int().flatten().tolist()
        assert (shown[0], shown[-1]) == (start, end - 1), (index, text)
        assert start <= index % 17 < end
        assert placement == "replace" or end - start == 1


def test_first_and_last_together_bind_where_they_say(media: Path) -> None:
    made = recipe("distilled_images", media)
    found = values(
        made,
        first=("First Picture, Stage 1", 1),
        last=("Last Picture, Stage 1", 1),
        latent=("Last Picture, Stage 1", 0),
    )
    assert (found["first"], found["last"]) == ("frame 0 (0.000 s)", "frame 8 (0.333 s)")
    assert len(items_of(found["latent"]).video or ()) == 2


def test_keyframes_come_out_where_their_slots_were(media: Path, models: Path) -> None:
    prompt = load_workflow("distilled_keyframes")
    from openltx.nodes.host.standalone import executor
    from openltx.nodes.host.standalone.settings import Settings, model_folders_below

    slots = next(node for node in prompt.values() if node["_meta"]["title"] == "Slots")
    slots["inputs"] |= {"frames": "2, -1, 5"}
    size = next(node for node in prompt.values() if node["_meta"]["title"] == "Size")
    size["inputs"] |= {"width": 64, "height": 64, "frames": 9}
    kept = Cache()
    settings = Settings(model_folders=model_folders_below(models), device="cpu", output_folder=models)
    executor.run(prompt, registry_of([*NODES, *CORE_NODES]), settings=settings, keep=kept)
    (keyframes,) = (
        value
        for result in kept.results.values()
        for value in result.values
        if isinstance(value, dict) and "generated_keyframe_indices" in value
    )
    assert keyframes["generated_keyframe_indices"] == [2, 5, 8]
    assert keyframes["generated_keyframe_num_frames"] == 9
    assert keyframes["samples"].shape[2] == 3


def test_sound_alone_goes_into_a_sound_file(media: Path, tmp_path: Path) -> None:
    small = small_inputs("text_to_audio", media)
    run("text_to_audio", output=tmp_path / "speech.flac", device="cpu", **small)
    assert read_sound(tmp_path / "speech.flac") is not None
    with pytest.raises(ValueError, match=r"speech\.mp4: expected a name ending in \.wav"):
        run("text_to_audio", output=tmp_path / "speech.mp4", device="cpu", **small)
