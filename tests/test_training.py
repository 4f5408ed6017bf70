"""Training stages at toy sizes: they step, go on bit-equal from their files, and a save that dies leaves the former."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from openltx.training import store as store_module
from openltx.training.bundle import bundle
from openltx.training.embedded import STAGES
from openltx.training.embedded_config import SHIPPED, Sizes
from openltx.training.judge import ATTRIBUTES
from openltx.training.linear_codec import codec_of
from openltx.training.loop import Budget, Task, train
from openltx.training.optimiser import Optimiser, Rates, orthogonalise, warm_constant_linear
from openltx.training.preview import Settings, generate, held_out_scenes, open_miniature, round_trip, scores
from openltx.training.sheet import save_animation
from openltx.training.stages.audio_vae import AudioVAETask
from openltx.training.stages.captions import batch_of_ids, tokenizer
from openltx.training.stages.latents import fill_cache, fill_own_cache, load_cache, measure_statistics
from openltx.training.stages.transformer import MODES, TransformerTask
from openltx.training.stages.video_codec import fit_codec, load_codec
from openltx.training.stages.video_data import Cut, Plan, whole_clips
from openltx.training.stages.video_decoder import VideoDecoderTask
from openltx.training.stages.video_encoder import VideoEncoderTask
from openltx.training.stages.video_finish import VideoFinishTask, disturbed, recoloured
from openltx.training.stages.video_joint import VideoJointTask
from openltx.training.stages.vocoder import VocoderTask
from openltx.training.store import Store
from openltx.training.world import make_clip, sample_scene

SHORT = Cut(batch=1, frames=9, side=64)
TINY = Plan(crops=(SHORT,), whole=(SHORT,))
TOY: Sizes = replace(
    SHIPPED,
    video_encoder=replace(
        SHIPPED.video_encoder, blocks=tuple(replace(block, num_layers=1) for block in SHIPPED.video_encoder.blocks)
    ),
    video_decoder=replace(SHIPPED.video_decoder, base_channels=8),
    vocoder=replace(SHIPPED.vocoder, generator=replace(SHIPPED.vocoder.generator, initial_channels=64)),
    transformer=replace(SHIPPED.transformer, num_layers=1),
)
TASKS: dict[str, Callable[[Store], Task]] = {
    "audio_vae": lambda store: AudioVAETask(TOY, store, batch=1, frames=9),
    "video_decoder": lambda store: VideoDecoderTask(TOY, store, plan=TINY),
    "video_encoder": lambda store: VideoEncoderTask(TOY, store, plan=TINY, start_batches=1),
    "video_joint": lambda store: VideoJointTask(TOY, store, plan=TINY),
    "video_finish": lambda store: VideoFinishTask(TOY, store, plan=TINY, given=Cut(batch=2, frames=9, side=64)),
    "transformer": lambda store: TransformerTask(TOY, store, batch=2),
    "vocoder": lambda store: VocoderTask(TOY, store, batch=1, segment=16),
}


@pytest.fixture(scope="module")
def trained_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Every stage in its order, two steps each."""
    store = Store(folder=tmp_path_factory.mktemp("work"))
    for name in ("audio_vae", "video_codec", "video_decoder", "video_encoder", "video_joint", "video_finish"):
        if name == "video_codec":
            fit_codec(TOY, store, clips=6)
        else:
            train(TASKS[name](store), store, Budget(steps=2))
    measure_statistics(TOY, store, clips=2)
    fill_cache(TOY, store, shards=2, size=2)
    for name in ("transformer", "vocoder"):
        train(TASKS[name](store), store, Budget(steps=2))
    return store


@pytest.mark.parametrize("name", TASKS)
def test_a_stage_goes_on_bit_equal(name: str, trained_store: Store, tmp_path: Path) -> None:
    whole, parts = (_beginning(trained_store, tmp_path / folder) for folder in ("whole", "parts"))
    train(TASKS[name](whole), whole, Budget(steps=4))
    for _ in range(2):
        train(TASKS[name](parts), parts, Budget(steps=4), stop_after=2)
    expected, found = whole.load(f"state_{name}"), parts.load(f"state_{name}")
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    assert parts.notes(f"state_{name}")["step"] == "4"
    assert "after 4 steps" in (parts.folder / f"{name}.log").read_text()


def test_a_stage_goes_on_from_weights_alone(trained_store: Store, tmp_path: Path) -> None:
    store = _beginning(trained_store, tmp_path)
    before = store.load("audio_decoder")
    train(TASKS["audio_vae"](store), store, Budget(steps=1))
    after = store.load("audio_decoder")
    moved = [float((after[key] - before[key]).abs().max()) for key in before]
    assert 0 < max(moved) < 0.02


def test_a_finished_stage_costs_nothing(trained_store: Store) -> None:
    before = trained_store.path("video_encoder").read_bytes()
    train(TASKS["video_encoder"](trained_store), trained_store, Budget(steps=2))
    assert trained_store.load("state_video_encoder").keys()
    assert len(trained_store.path("video_encoder").read_bytes()) == len(before)


def test_a_save_that_dies_leaves_the_former_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(folder=tmp_path)
    store.save("weights", {"x": torch.ones(3)})

    def dies(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(store_module, "save_file", dies)
    with pytest.raises(KeyboardInterrupt):
        store.save("weights", {"x": torch.zeros(3)})
    assert torch.equal(store.load("weights")["x"], torch.ones(3))
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]


def test_the_finish_leaves_the_latents_alone(trained_store: Store, tmp_path: Path) -> None:
    store = _beginning(trained_store, tmp_path)
    task = VideoFinishTask(TOY, store, plan=TINY, given=Cut(batch=2, frames=9, side=64))
    assert list(task.networks) == ["video_decoder"]
    assert not any(parameter.requires_grad for parameter in task.encoder.parameters())
    assert [sorted(task.loss(step, 0.5)[1]) for step in range(2)] == [["l1"], ["first"]]


def test_only_what_follows_the_first_latent_frame_is_disturbed() -> None:
    latent = torch.randn(2, 3, 3, 2, 2)
    for turn in range(4):
        found = disturbed(latent, turn)
        assert torch.equal(found[:, :, :1], latent[:, :, :1])
        assert found.shape[2] in (1, 3)
        assert not torch.equal(found, latent)


def test_recoloured_clips_keep_their_greys_and_their_range() -> None:
    video = torch.rand(4, 3, 2, 8, 8) * 2 - 1
    grey = video[:, :1].expand(-1, 3, -1, -1, -1)
    assert torch.allclose(recoloured(grey), grey, atol=1e-5)
    found = recoloured(video)
    assert float(found.abs().max()) <= 1 + 1e-5
    assert torch.allclose(found.mean(dim=1), video.mean(dim=1), atol=1e-5)
    assert not torch.allclose(found, video, atol=0.1)


def test_weights_of_other_sizes_are_refused(trained_store: Store) -> None:
    with pytest.raises(ValueError, match=r"video_decoder.*expected weights of the sizes.*move the file away"):
        VideoDecoderTask(SHIPPED, trained_store)


def test_a_stage_that_is_not_due_says_which_comes_first(tmp_path: Path) -> None:
    store = Store(folder=tmp_path)
    with pytest.raises(ValueError, match=r"video_codec.*run the stage video_codec first"):
        VideoDecoderTask(TOY, store)
    with pytest.raises(ValueError, match=r"run the stage latents first"):
        TransformerTask(TOY, store)


def test_the_bundle_is_a_checkpoint_like_the_published_ones(trained_store: Store, tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"
    assert bundle(trained_store, path, sizes=TOY) == []
    model = open_miniature(path)
    assert model.transformer.config == TOY.transformer
    assert model.video_decoder.config == TOY.video_decoder
    (made,) = generate(model, ["a red ball"], Settings(frames=9, steps=2))
    assert made.frames.shape == (9, 128, 128, 3)
    assert made.mel.shape == (2, 4 * 9 - 3, 64)
    scene = held_out_scenes(1)[0]
    again = round_trip(model, make_clip(scene, frames=9))
    assert set(ATTRIBUTES) < set(scores([(made, scene), (again, scene)]))


def test_an_untrained_network_of_a_bundle_is_named(tmp_path: Path) -> None:
    missing = bundle(Store(folder=tmp_path), tmp_path / "x.safetensors", sizes=TOY)
    assert "transformer" in missing
    assert "vocoder" in missing


def test_the_codec_keeps_what_it_was_fitted_on(trained_store: Store) -> None:
    codec = load_codec(trained_store)
    clips = whole_clips(1, frames=9)
    latent = codec.encode(clips)
    assert latent.shape == (1, 32, 2, 4, 4)
    again = codec.encode(codec.decode(latent))
    assert torch.allclose(again[:, :, 1:], latent[:, :, 1:], atol=1e-2)  # a first frame is the mean of eight
    assert codec_of(codec.tensors()) is not codec


def test_latents_in_the_cache_are_normalised(trained_store: Store) -> None:
    cache = load_cache(trained_store)
    assert cache["video"].shape == (4, 32, 7, 4, 4)
    assert cache["audio"].shape == (4, 2, 51, 16)
    assert cache["seeds"].tolist() == [0, 1, 2, 3]


def test_every_mode_of_the_transformer_trains_what_is_not_given(trained_store: Store) -> None:
    task = TransformerTask(TOY, trained_store, batch=2)
    for mode in MODES:
        batch = task._draw(np.random.default_rng(1), 1, mode)
        video, audio = task._flow(batch)
        assert bool(video > 0) == (mode != "video")
        assert bool(audio > 0) == (mode != "audio")


def test_captions_fit_the_context() -> None:
    captions = [sample_scene(seed).caption for seed in range(300)]
    ids, mask = batch_of_ids([*captions, ""], SHIPPED)
    assert ids.shape[1] <= SHIPPED.text_length // 2
    assert mask[-1].sum() == 1
    assert len(tokenizer(SHIPPED)("Ünïcödé 日本")) > 2


@pytest.mark.parametrize("shape", [(2, 32, 100), (1, 192, 192), (3, 300, 40)])
def test_orthogonalised_blocks_have_singular_values_near_one(shape: tuple[int, ...]) -> None:
    made = orthogonalise(torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    assert made.shape == shape
    blocks = -(-shape[1] // 128)
    values = torch.linalg.svdvals(made[0, : -(-shape[1] // blocks)])  # one block
    values = values[: min(shape[1:])]
    assert 0.3 < float(values.min())
    assert float(values.max()) < 1.4


def test_a_gradient_that_is_not_finite_changes_nothing() -> None:
    layer = torch.nn.Linear(2, 2)
    optimiser, before = Optimiser({"x": layer}, Rates()), layer.weight.detach().clone()
    (layer(torch.full((1, 2), float("nan")))).sum().backward()
    optimiser.step(1.0)
    assert torch.equal(layer.weight, before)


def test_rates_rise_hold_and_fall() -> None:
    assert warm_constant_linear(0.0, 0) == pytest.approx(0.02)
    assert warm_constant_linear(0.5, 100) == 1.0
    assert warm_constant_linear(1.0, 1000) == pytest.approx(0.03)


def test_the_own_cache_takes_the_place_of_the_first(trained_store: Store, tmp_path: Path) -> None:
    store = _beginning(trained_store, tmp_path)
    before = load_cache(store)
    fill_own_cache(TOY, store, shards=1)
    after = load_cache(store)
    assert torch.equal(after["seeds"], before["seeds"][:2])
    assert torch.equal(after["audio"], before["audio"][:2])
    assert after["video"].shape == before["video"][:2].shape
    assert not torch.equal(after["video"], before["video"][:2])


def test_gates_of_the_cross_modal_attentions_stay_open(trained_store: Store) -> None:
    task = TransformerTask(TOY, trained_store)
    crossing = re.compile("(audio_to_video|video_to_audio)_attn.to_gate_logits")
    gates = [gate for name, gate in task.transformer.named_parameters() if crossing.search(name)]
    assert gates
    assert all(not gate.requires_grad and not gate.any() for gate in gates)


def test_clips_that_move_side_by_side(tmp_path: Path) -> None:
    path, ramp = tmp_path / "clips.webp", torch.arange(5)[:, None, None, None] / 8
    save_animation([(ramp + index / 4).expand(5, 16, 24, 3) for index in range(3)], path, columns=2)
    with Image.open(path) as picture:
        assert (picture.size, picture.n_frames) == ((48, 16), 5)
        picture.seek(4)
        assert abs(picture.convert("RGB").getpixel((40, 8))[0] - 191) < 4


def test_stages_are_named_once() -> None:
    assert len({stage.name for stage in STAGES}) == len(STAGES)
    assert all((stage.task is None) != (stage.job is None) for stage in STAGES)


def _beginning(store: Store, folder: Path) -> Store:
    """A work folder with the same weights and no optimiser states."""
    folder.mkdir(exist_ok=True)
    copy = Store(folder=folder)
    for path in store.folder.rglob("*.safetensors"):
        if not path.name.startswith("state_"):
            name = path.relative_to(store.folder).with_suffix("").as_posix()
            copy.save(name, store.load(name))
    return copy
