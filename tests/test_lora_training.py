"""LoRA training below the files: adapters, strategies, the task, export, and every wrong line of a configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from openltx.model_loaders.checkpoint import CheckpointError, open_checkpoint
from openltx.model_loaders.inspect import inspect_file
from openltx.model_loaders.lora.file import open_lora
from openltx.model_loaders.lora.model import with_lora
from openltx.model_loaders.lora.strengths import LoraStrengths
from openltx.model_loaders.operations import linear as stored_linear
from openltx.model_loaders.parts import open_model
from openltx.model_loaders.transformer import load_transformer
from openltx.networks.transformer import Stream, Transformer
from openltx.samplers.conditioning import ReferenceFactors
from openltx.samplers.conditioning.reference import reference_positions
from openltx.samplers.shapes import VideoGrid
from openltx.samplers.state import VideoLayout
from openltx.samplers.streams import Streams
from openltx.training.flow import flow_error
from openltx.training.loop import Budget, train
from openltx.training.lora.adapters import Adapters, add_adapters, checkpoint_blocks, matching_layers
from openltx.training.lora.config import ATTENTION, LoraConfig, config_of, read_config
from openltx.training.lora.dataset import find_clips
from openltx.training.lora.export import checked_lora, export_lora
from openltx.training.lora.precompute import Cache
from openltx.training.lora.strategies import Latents, clean_states, noisy_streams
from openltx.training.lora.task import LoraTask
from openltx.training.optimiser import Optimiser
from openltx.training.store import Store

GOLDEN = Path(__file__).parent / "golden" / "transformer"
FILES = {"2": "av_ltx2", "2.3": "av_ltx23", "2.5": "av_ltx25"}
TEXT = 8
NONE = ReferenceFactors()


def network_of(generation: str, dtype: torch.dtype = torch.float32) -> Transformer:
    return load_transformer(open_checkpoint(GOLDEN / f"{FILES[generation]}.safetensors")).to(dtype)


def config(folder: Path, **sections: dict[str, Any]) -> LoraConfig:
    tables: dict[str, Any] = {
        "output": "run",
        "model": {"checkpoint": str(GOLDEN / "av_ltx23.safetensors")},
        "data": {"folder": "clips", "width": 64, "height": 64, "frames": 9},
        "lora": {"rank": 4},
        "training": {"steps": 4, "precision": "float32", "learning_rate": 0.02, "caption_dropout": 0.0},
    }
    for name, values in sections.items():
        tables[name] = {**tables.get(name, {}), **values}
    return config_of(tables, name="a.toml", folder=folder)


def toy_cache(folder: Path, network: Transformer, *, reference: bool = False) -> Cache:
    """Two clips of random latents, in the network's channels."""
    store, settings = Store(folder=folder / "cache"), network.config
    assert settings.video is not None
    assert settings.audio is not None
    generator = torch.Generator().manual_seed(1)
    for index in range(2):
        latents = {
            "video": torch.randn(1, settings.video.in_channels, 2, 2, 2, generator=generator),
            "audio": torch.randn(1, 1, 9, settings.audio.in_channels, generator=generator),
        }
        if reference:
            latents["reference"] = torch.randn(1, settings.video.in_channels, 2, 1, 1, generator=generator)
        store.save(f"clips/{index}", latents)
    for caption in ("", "one", "two"):
        widths = {name: settings.caption_channels or stream.width for name, stream in settings.streams()}
        store.save(
            f"texts/{caption or 'none'}",
            {name: torch.randn(1, TEXT, width, generator=generator) for name, width in widths.items()},
        )
    texts = {caption: f"texts/{caption or 'none'}" for caption in ("", "one", "two")}
    return Cache(store=store, clips=(("clips/0", "one"), ("clips/1", "two")), texts=texts)


def task_of(settings: LoraConfig, folder: Path, generation: str = "2.3") -> LoraTask:
    network = network_of(generation)
    cache = toy_cache(folder, network, reference=settings.lora.strategy == "v2v")
    lora = settings.lora
    names = matching_layers(network, lora.targets)
    adapters = add_adapters(network, names, rank=lora.rank, scale=lora.scale, seed=settings.training.seed)
    if settings.training.checkpointing:
        checkpoint_blocks(network.transformer_blocks)
    return LoraTask(settings, network, adapters, cache)


def randomise(adapters: Adapters) -> None:
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in adapters.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))


def a_call(network: Transformer) -> tuple[Stream, Stream]:
    generator = torch.Generator().manual_seed(3)
    made = []
    for _, stream in network.config.streams():
        axes, width = len(stream.max_pos), network.config.caption_channels or stream.width
        made.append(
            Stream(
                latent=torch.randn(1, 6, stream.in_channels, generator=generator).to(network.dtype),
                sigma=torch.tensor([0.5]),
                timesteps=torch.full((1, 1, 1), 0.5),
                positions=torch.rand(1, axes, 6, 2, generator=generator) * 4,
                context=torch.randn(1, TEXT, width, generator=generator).to(network.dtype),
            )
        )
    return made[0], made[1]


# adapters


@pytest.mark.parametrize("generation", FILES)
def test_a_fresh_adapter_changes_nothing_and_learns_alone(generation: str, tmp_path: Path) -> None:
    plain = network_of(generation)
    expected = plain(*a_call(plain))
    task = task_of(config(tmp_path), tmp_path, generation)
    with torch.no_grad():
        found = task.transformer(*a_call(plain))
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    loss, _ = task.loss(0, 0.0)
    loss.backward()  # type: ignore[no-untyped-call]
    own = {id(parameter) for parameter in task.adapters.parameters()}
    for name, parameter in task.transformer.named_parameters():
        assert parameter.requires_grad == (id(parameter) in own), name
        assert (parameter.grad is not None) == (id(parameter) in own), name
    assert any(
        float(layer.up.grad.abs().max()) > 0 for layer in task.adapters.layers.values() if layer.up.grad is not None
    )


def test_base_weights_keep_their_dtype_and_adapters_are_float32(tmp_path: Path) -> None:
    network = network_of("2.3", torch.bfloat16)
    adapters = add_adapters(network, matching_layers(network, ATTENTION), rank=2, scale=1.0, seed=0)
    layer = next(iter(adapters.layers.values()))
    assert layer.base.weight.dtype == torch.bfloat16
    assert {parameter.dtype for parameter in adapters.parameters()} == {torch.float32}
    video, _ = network(*a_call(network))
    assert video is not None
    assert video.dtype == torch.bfloat16
    video.float().square().sum().backward()
    assert all(parameter.grad is None or parameter.grad.dtype == torch.float32 for parameter in adapters.parameters())


def test_targets_are_whole_names_or_their_ends() -> None:
    network = network_of("2.3")
    own = matching_layers(network, ["attn1.to_q"])
    assert own == [name for name, _ in network.named_modules() if name.endswith(".attn1.to_q")]
    assert matching_layers(network, ["transformer_blocks.0.*.to_k"])
    assert "patchify_proj" in matching_layers(network, ["patchify_proj", "*.to_v"])
    with pytest.raises(ValueError, match=r"'attn1.to_x' matches no linear layer; the nearest are .*to_"):
        matching_layers(network, ["*.to_q", "attn1.to_x"])


def test_every_linear_layer_can_be_a_target(tmp_path: Path) -> None:
    task = task_of(config(tmp_path, lora={"targets": ["*"]}), tmp_path)
    randomise(task.adapters)
    loss, _ = task.loss(0, 0.0)
    loss.backward()  # type: ignore[no-untyped-call]
    untouched = [name for name, layer in task.adapters.layers.items() if layer.down.grad is None]
    assert untouched == []


def test_checkpointing_changes_no_gradient(tmp_path: Path) -> None:
    gradients = []
    for checkpointing in (False, True):
        task = task_of(config(tmp_path, training={"checkpointing": checkpointing}), tmp_path)
        randomise(task.adapters)
        loss, _ = task.loss(3, 0.0)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients.append([parameter.grad for parameter in task.adapters.parameters()])
    for one, other in zip(*gradients, strict=True):
        assert one is not None
        assert other is not None
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-8)


def test_checkpointing_keeps_less(tmp_path: Path, peak_bytes: Any) -> None:
    """Between the passes: what is alive when the loss is there."""
    kept = []
    for checkpointing in (False, True):
        task = task_of(config(tmp_path, training={"checkpointing": checkpointing, "batch": 8}), tmp_path)
        with peak_bytes(*task.transformer.parameters()) as measure:
            loss, _ = task.loss(0, 0.0)
            kept.append(measure.live)
        del loss
    assert kept[1] < 0.6 * kept[0]


def test_a_product_of_8_bit_floats_is_not_used_where_gradients_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Tensor:
        raise AssertionError("it has no gradient")

    monkeypatch.setattr(stored_linear, "can_multiply", lambda *_: True)
    monkeypatch.setattr(stored_linear, "scaled_product", refuse)
    layer = stored_linear.StoredLinear(4, 3)
    made_of: Any = object()
    recipe = stored_linear.Recipe(name="x", dequantise=lambda parts, dtype: parts["weight"].to(dtype), layer=made_of)
    layer.store({"weight": torch.ones(3, 4)}, recipe)
    x = torch.ones(2, 4, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    with torch.no_grad(), pytest.raises(AssertionError, match="no gradient"):
        layer(x)


# learning


@pytest.mark.parametrize("strategy", ["t2v", "i2v", "v2v"])
def test_a_fixed_batch_is_learned(strategy: str, tmp_path: Path) -> None:
    sections: dict[str, dict[str, Any]] = {"lora": {"strategy": strategy, "targets": ["*"]}}
    if strategy == "v2v":
        sections["data"] = {"references": "references"}
        sections["lora"]["reference_downscale"] = 2
    task = task_of(config(tmp_path, **sections), tmp_path)
    optimiser = Optimiser(task.networks, task.rates)
    first = float(task.loss(0, 0.0)[0].detach())
    for _ in range(12):
        loss, figures = task.loss(0, 0.0)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step(1.0)
    assert float(loss.detach()) < 0.9 * first
    assert set(figures) == {"video", "audio"}


def test_accumulated_batches_are_one_step(tmp_path: Path) -> None:
    def gradients(steps: range, accumulate: int) -> list[Tensor]:
        task = task_of(config(tmp_path, training={"accumulate": accumulate}), tmp_path)
        randomise(task.adapters)
        for step in steps:
            loss, _ = task.loss(step, 0.0)
            loss.backward()  # type: ignore[no-untyped-call]
        return [parameter.grad for parameter in task.adapters.parameters() if parameter.grad is not None]

    for together, apart in zip(gradients(range(1), 2), gradients(range(2), 1), strict=True):
        assert torch.allclose(2 * together, apart, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("generation", FILES)
def test_it_goes_on_bit_equal(generation: str, tmp_path: Path) -> None:
    settings = config(tmp_path)
    states = []
    for parts in ((4,), (1, 3)):
        store = Store(folder=tmp_path / f"{len(parts)}")
        for steps in parts:
            task = task_of(settings, tmp_path, generation)
            train(task, store, Budget(steps=4), stop_after=steps, save_every=100)
        states.append(store.load("state_lora"))
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_a_step_that_is_interrupted_leaves_its_state(tmp_path: Path) -> None:
    task, store = task_of(config(tmp_path), tmp_path), Store(folder=tmp_path / "state")

    def stop(run: Any) -> None:
        if run.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(task, store, Budget(steps=4), save_every=100, after_step=stop)
    assert store.notes("state_lora")["step"] == "2"


def test_every_clip_once_a_round_and_quantiles_make_levels(tmp_path: Path) -> None:
    task = task_of(config(tmp_path), tmp_path)
    assert all({task._row(2 * turn), task._row(2 * turn + 1)} == {0, 1} for turn in range(5))
    levels = [(index + 0.5) / 200 for index in range(200)]
    assert task.sigmas(levels, tokens=8).tolist() == pytest.approx(levels)
    shifted = LoraTask(
        config(tmp_path, training={"timesteps": "shifted_logit_normal"}), task.transformer, task.adapters, task.cache
    )
    few, many = shifted.sigmas(levels, tokens=1024), shifted.sigmas(levels, tokens=10**6)
    assert float(torch.logit(few).mean()) == pytest.approx(0.95, abs=1e-3)
    assert float(torch.logit(many).mean()) == pytest.approx(2.05, abs=1e-3)
    assert float(torch.logit(few).std()) == pytest.approx(1.0, abs=0.05)


# strategies


def streams_of(clips: Latents, first: Tensor | None, factors: ReferenceFactors = NONE) -> Any:
    states = clean_states(clips, fps=24.0, first_frame=first, factors=factors)
    noises = states.map(lambda state: torch.randn(state.latent.shape))
    contexts = Streams(video=torch.zeros(1, TEXT, 16), audio=torch.zeros(1, TEXT, 8))
    return states, noises, noisy_streams(states, noises, torch.tensor([0.25, 1.0]), contexts, torch.float32)


def test_text_to_video_is_noisy_everywhere_with_one_level_a_sample() -> None:
    clips = Latents(video=torch.randn(2, 4, 2, 2, 2), audio=torch.randn(2, 1, 9, 16))
    states, noises, streams = streams_of(clips, None)
    assert streams.video.timesteps.tolist() == [[[0.25]], [[1.0]]]
    clean = states.video.clean
    assert torch.allclose(streams.video.latent[0], clean[0] + 0.25 * (noises.video[0] - clean[0]))
    assert torch.allclose(streams.audio.latent[1], noises.audio[1], atol=1e-6)


def test_image_to_video_is_given_the_first_frame() -> None:
    clips = Latents(video=torch.randn(2, 4, 2, 2, 2))
    states, noises, streams = streams_of(clips, clips.video[:, :, :1])
    assert streams.audio is None
    assert torch.equal(streams.video.latent[:, :4], states.video.clean[:, :4])
    assert streams.video.timesteps[:, :4].abs().max() == 0
    assert streams.video.timesteps[1, 4:].min() == 1
    wrong_there = noises.video - states.video.clean
    wrong_there[:, :4] += 100
    assert float(flow_error(wrong_there, noises.video - states.video.clean, states.video.mask)) == 0


def test_a_reference_is_appended_given_and_at_its_own_places() -> None:
    clips = Latents(video=torch.randn(2, 4, 2, 4, 4), reference=torch.randn(2, 4, 2, 2, 2))
    states, _, streams = streams_of(clips, None, ReferenceFactors(space=2))
    grid, extra = 2 * 4 * 4, 2 * 2 * 2
    assert streams.video.latent.shape == (2, grid + extra, 4)
    assert torch.equal(streams.video.latent[:, grid:], states.video.clean[:, grid:])
    assert streams.video.timesteps[:, grid:].abs().max() == 0
    assert streams.video.timesteps[0, :grid].unique().tolist() == [0.25]
    layout = VideoLayout(grid=VideoGrid(2, 4, 4), fps=24.0)
    expected = reference_positions(
        VideoGrid(2, 2, 2), layout, ReferenceFactors(space=2), first_end=torch.tensor(1 / 24)
    )
    assert torch.equal(streams.video.positions[:, :, grid:], expected)
    assert states.video.mask[:, grid:].abs().max() == 0


# export


@pytest.mark.parametrize("generation", FILES)
@pytest.mark.parametrize(("save_as", "tolerance"), [("float32", 1e-5), ("bfloat16", 2e-2)])
def test_the_file_gives_what_the_adapters_gave(generation: str, save_as: str, tolerance: float, tmp_path: Path) -> None:
    """Tolerance: of the largest change that the LoRA makes; bfloat16 keeps 8 bits of each matrix."""
    checkpoint = _plain_checkpoint(GOLDEN / f"{FILES[generation]}.safetensors", tmp_path / "base.safetensors")
    settings = config(tmp_path, lora={"targets": ["*"], "alpha": 8.0, "save_as": save_as})
    task = task_of(settings, tmp_path, generation)
    randomise(task.adapters)
    call = a_call(task.transformer)
    path = export_lora(task.adapters, settings, tmp_path / "lora.safetensors", step=3)
    report = checked_lora(path, task.adapters, generation=generation)
    assert report.applied == len(task.adapters.layers)
    model = open_model(checkpoint, dtype=torch.float32)
    adapted, _ = with_lora(model, path, LoraStrengths())
    with torch.no_grad():
        expected = task.transformer(*call)
        found = adapted.transformer.on(torch.device("cpu"))(*call)
        plain = model.transformer.on(torch.device("cpu"))(*call)
    for wanted, made, without in zip(expected, found, plain, strict=True):
        assert wanted is not None
        change = float((wanted - without).abs().max())
        assert change > 0.01
        assert float((wanted - made).abs().max()) < tolerance * change


def test_the_layout_is_the_published_one(tmp_path: Path) -> None:
    settings = config(
        tmp_path, data={"references": "r"}, lora={"strategy": "v2v", "reference_downscale": 2, "alpha": 2.0}
    )
    task = task_of(settings, tmp_path)
    randomise(task.adapters)
    path = export_lora(task.adapters, settings, tmp_path / "lora.safetensors", step=3)
    tensors = load_file(path)
    layer = "transformer_blocks.0.attn1.to_out.0"
    assert {"diffusion_model." + layer + ".lora_A.weight", "diffusion_model." + layer + ".lora_B.weight"} < set(tensors)
    assert all(name.startswith("diffusion_model.") and not name.endswith("alpha") for name in tensors)
    assert len(tensors) == 2 * len(task.adapters.layers)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    up = task.adapters.layers[layer].up.detach() * 0.5  # alpha / rank
    assert torch.equal(tensors[f"diffusion_model.{layer}.lora_B.weight"], up.bfloat16())
    lora = open_lora(path)
    assert (lora.reference_downscale_factor, lora.reference_temporal_scale_factor) == (2, 1)
    assert lora.file.metadata["reference_downscale_factor"] == "2"
    found = inspect_file(path)
    assert found.kind == "lora"
    assert found.details["rank"] == 4
    plain = config(tmp_path)
    other = export_lora(task.adapters, plain, tmp_path / "plain.safetensors", step=3)
    assert "reference_downscale_factor" not in open_lora(other).file.metadata


# configuration and data


@pytest.mark.parametrize(
    ("sections", "line"),
    [
        (
            {"training": {"learning_rat": 1e-3}},
            r"training.learning_rat: no such key; the nearest is training.learning_",
        ),
        ({"data": {"width": 100}}, r"data.width: expected a multiple of 32, found 100; use 96"),
        ({"data": {"frames": 24}}, r"data.frames: expected 8k\+1 \(1, 9, 17 …\), found 24; use 25"),
        ({"data": {"folder": ""}}, r"data.folder: expected a path as a text, found ''"),
        ({"data": {"fps": 0}}, r"data.fps: expected more than 0"),
        ({"lora": {"rank": 0}}, r"lora.rank: expected at least 1, found 0"),
        ({"lora": {"rank": 1.5}}, r"lora.rank: expected a whole number, found 1.5"),
        ({"lora": {"targets": "to_q"}}, r"lora.targets: expected a list of texts, found 'to_q'"),
        ({"lora": {"strategy": "a2v"}}, r"lora.strategy: expected 't2v' or 'i2v' or 'v2v', found 'a2v'"),
        ({"lora": {"alpha": -1}}, r"lora.alpha: expected a number above 0, found -1"),
        ({"lora": {"strategy": "v2v"}}, r"data.references: expected a folder with reference clips"),
        ({"data": {"references": "r"}}, r"data.references: expected .* for no other, found .*r with 't2v'"),
        ({"lora": {"reference_downscale": 2}}, r"lora.strategy: expected 'v2v' where factors"),
        (
            {"lora": {"strategy": "v2v", "reference_downscale": 4}, "data": {"references": "r"}},
            r"data.width, data.height: expected multiples of 128 .*, found 64x64",
        ),
        ({"training": {"precision": "fp8"}}, r"training.precision: expected 'bfloat16' or 'float32', found 'fp8'"),
        ({"training": {"checkpointing": "yes"}}, r"training.checkpointing: expected true or false, found 'yes'"),
        ({"samples": {"prompts": ["x"]}, "lora": {"strategy": "i2v"}}, r"samples.prompts: expected none"),
    ],
)
def test_a_wrong_setting_is_one_line(sections: dict[str, Any], line: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=line) as error:
        config(tmp_path, **sections)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("a.toml: ")


def test_a_file_of_settings(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "lora.toml"
    path.parent.mkdir()
    text = """output = "out"
[model]
checkpoint = "../m.safetensors"
text_encoder = ""
[data]
folder = "clips"
width = 96
height = 64
frames = 17
"""
    path.write_text(text, encoding="utf-8")
    found = read_config(path)
    assert found.model.checkpoint == tmp_path / "m.safetensors"
    assert found.model.text_encoder is None
    assert found.data.folder == path.parent / "clips"
    assert found.lora.scale == 1.0
    for wrong, line in (
        (text + "x = ", "lora.toml: expected TOML, found a mistake"),
        (text.replace("width = 96\n", ""), "lora.toml: data.width: expected a value, found none"),
        ("[data]\n", "lora.toml: output: expected a value"),
        (text + "[datta]\n", "lora.toml: datta: no such key; the nearest is data"),
        (text.replace("[model]", "[[model]]"), r"lora.toml: model: expected a table \[model\]"),
    ):
        path.write_text(wrong, encoding="utf-8")
        with pytest.raises(ValueError, match=line):
            read_config(path)
    with pytest.raises(ValueError, match="expected a TOML file, it cannot be read"):
        read_config(tmp_path / "none.toml")


def test_captions_beside_clips_or_in_one_file(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.png", "notes.md"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "a.txt").write_text(" a picture\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"b.mp4: expected a caption in b.txt or captions.jsonl, found none"):
        find_clips(tmp_path)
    rows = tmp_path / "captions.jsonl"
    rows.write_text(json.dumps({"file": "b.mp4", "caption": "a clip"}) + "\n\n", encoding="utf-8")
    clips = find_clips(tmp_path)
    assert [(clip.media.name, clip.caption, clip.is_picture) for clip in clips] == [
        ("a.png", "a picture", True),
        ("b.mp4", "a clip", False),
    ]
    references = tmp_path / "references"
    references.mkdir()
    (references / "a.mp4").write_bytes(b"")
    with pytest.raises(ValueError, match=r"b.mp4: expected a reference b.\* in .*references, found none"):
        find_clips(tmp_path, references)
    rows.write_text('{"file": "c.mp4", "caption": "gone"}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"expected files of this folder, found 'c.mp4'"):
        find_clips(tmp_path)
    rows.write_text("\n{broken", encoding="utf-8")
    with pytest.raises(ValueError, match=r"captions.jsonl: line 2: expected .*found '\{broken'"):
        find_clips(tmp_path)
    rows.unlink()
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match="a.txt: expected text in UTF-8, found other bytes"):
        find_clips(tmp_path)
    with pytest.raises(ValueError, match="expected a folder with clips, found none"):
        find_clips(tmp_path / "missing")
    with pytest.raises(ValueError, match="expected videos or pictures, found none"):
        find_clips(_made(tmp_path / "empty"))


def test_a_lora_of_another_generation_is_refused(tmp_path: Path) -> None:
    settings = config(tmp_path, lora={"targets": ["*"]})
    task = task_of(settings, tmp_path, "2")
    path = export_lora(task.adapters, settings, tmp_path / "lora.safetensors", step=1)
    with pytest.raises(CheckpointError, match="expected a LoRA for LTX-2.3, found one for LTX-2;"):
        with_lora(open_model(GOLDEN / "av_ltx23.safetensors", dtype=torch.float32), path, LoraStrengths())


def _plain_checkpoint(source: Path, path: Path) -> Path:
    """In float32: merging into bfloat16 would round the base weights too."""
    file = open_checkpoint(source)
    save_file({name: t.float().clone() for name, t in file.load(file.names()).items()}, path, file.metadata)
    return path


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_adapters_name_only_their_own_parameters() -> None:
    network = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2))
    adapters = add_adapters(network, ["0"], rank=1, scale=2.0, seed=0)
    assert {name: tuple(p.shape) for name, p in adapters.named_parameters()} == {"0/down": (1, 3), "0/up": (2, 1)}
    with torch.no_grad():
        adapters.layers["0"].up.fill_(1.0)
    x = torch.ones(1, 3)
    base = adapters.layers["0"].base(x)
    assert torch.allclose(network[0](x), base + 2 * adapters.layers["0"].down.sum())
