"""MODEL in ComfyUI: our network under ComfyUI's samplers, LoRA loader, previews and patches."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

HERE = Path(__file__).resolve().parent
TOLERANCE = 2e-5


@pytest.fixture(scope="module")
def lora(comfyui_base: Path) -> str:
    """A LoRA for two layers of the embedded model, under the published prefix, with an alpha."""
    tensors = load_file(HERE.parents[1] / "assets" / "openltx-tiny-2.3.safetensors")
    generator, parts = torch.Generator().manual_seed(0), {}
    for layer in ("transformer_blocks.0.attn1.to_q", "transformer_blocks.1.audio_ff.net.2"):
        rows, columns = tensors[f"model.diffusion_model.{layer}.weight"].shape
        name = f"diffusion_model.{layer}"
        parts[f"{name}.lora_A.weight"] = torch.randn(4, columns, generator=generator) * 0.3
        parts[f"{name}.lora_B.weight"] = torch.randn(rows, 4, generator=generator) * 0.3
        parts[f"{name}.alpha"] = torch.tensor(2.0)
    folder = comfyui_base / "models" / "loras"
    folder.mkdir(exist_ok=True)
    save_file(parts, folder / "tiny.safetensors")
    return "tiny.safetensors"


def assert_close(found: Any, expected: Any) -> None:
    for one, other in zip(found["samples"].unbind(), expected["samples"].unbind(), strict=True):
        assert one.shape == other.shape
        assert float((one - other).abs().max()) < TOLERANCE


def differs(found: Any, expected: Any) -> bool:
    pairs = zip(found["samples"].unbind(), expected["samples"].unbind(), strict=True)
    return any(float((one - other).abs().max()) > 100 * TOLERANCE for one, other in pairs)


def test_model_is_a_patcher_over_a_base_model(graphs: Any, side: Any) -> None:
    model, base = graphs.run(side.stage(), ("load", 0)), importlib.import_module("comfy.model_base").BaseModel
    assert isinstance(model, importlib.import_module("comfy.model_patcher").ModelPatcher)
    assert isinstance(model.model, base)
    names = {name.removeprefix("diffusion_model.") for name in model.model_state_dict("diffusion_model.")}
    stored = load_file(HERE.parents[1] / "assets" / "openltx-tiny-2.3.safetensors")
    published = {name.removeprefix("model.diffusion_model.") for name in stored if "diffusion_model" in name}
    assert names == {name for name in published if "embeddings_connector" not in name}


@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_samplers_of_comfyui_agree_with_ours(graphs: Any, side: Any, cfg: float) -> None:
    expected = graphs.run({**side.stage(), "out": side.ours(cfg)}, ("out", 0))
    assert_close(graphs.run({**side.stage(), **side.cores(cfg)}, ("out", 0)), expected)


def test_basic_guider(graphs: Any, side: Any) -> None:
    graph = {**side.stage(), "guider": side.node("BasicGuider", model=["load", 0], conditioning=["rate", 0])}
    expected = graphs.run({**side.stage(), "out": side.ours()}, ("out", 0))
    assert_close(graphs.run({**graph, "out": side.advanced()}, ("out", 0)), expected)


def test_ksampler(graphs: Any, side: Any) -> None:
    """Its own schedule: only that it runs, with the seed's numbers, and that guidance acts."""

    def sampled(cfg: float) -> Any:
        options = {"seed": 5, "steps": 2, "cfg": cfg, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
        links = {"positive": ["rate", 0], "negative": ["rate", 1], "latent_image": ["empty", 0]}
        return graphs.run({**side.stage(), "k": side.node("KSampler", model=["load", 0], **options, **links)}, ("k", 0))

    plain = sampled(1.0)
    assert all(bool(member.isfinite().all()) for member in plain["samples"].unbind())
    assert differs(sampled(3.0), plain)


def test_video_alone(graphs: Any, side: Any) -> None:
    graph = side.stage()
    graph["empty"]["inputs"]["streams"] = "video only"
    expected = graphs.run({**graph, "out": side.ours(3.0)}, ("out", 0))["samples"]
    found = graphs.run({**graph, **side.cores(3.0)}, ("out", 0))["samples"]
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) < TOLERANCE


def test_both_loaders_of_a_lora_agree(graphs: Any, side: Any, lora: str) -> None:
    cores = side.node("LoraLoaderModelOnly", model=["load", 0], lora_name=lora, strength_model=0.7)
    factors = dict.fromkeys(("video", "audio", "audio_to_video", "video_to_audio"), 1.0)
    mine = side.node("OpenLTXLoadLora", model=["load", 0], lora=lora, strength=0.7, blocks="", **factors)
    plain = graphs.run({**side.stage(), "out": side.ours()}, ("out", 0))
    results = []
    for loader in (cores, mine):
        graph = {**side.stage(), "lora": loader}
        results.append(graphs.run({**graph, "out": side.ours(model="lora")}, ("out", 0)))
        results.append(graphs.run({**graph, **side.cores(model="lora")}, ("out", 0)))
    for result in results[1:]:
        assert_close(result, results[0])
    assert differs(results[0], plain)
    assert_close(graphs.run({**side.stage(), "out": side.ours()}, ("out", 0)), plain)  # nothing stays behind


def test_a_foreign_lora_is_not_lost_by_a_node_that_reads_anew(graphs: Any, side: Any, lora: str) -> None:
    graph = side.stage()
    graph["lora"] = side.node("LoraLoaderModelOnly", model=["load", 0], lora_name=lora, strength_model=0.7)
    graph["half"] = side.node("OpenLTXOneStream", model=["lora", 0], stream="audio")
    assert "put this node before LoRA loaders" in graphs.run(graph, ("half", 0), expect="failed")


def test_masks_keep_what_they_cover(graphs: Any, side: Any) -> None:
    """A refinement with the first half of the picture kept."""
    graph = {**side.stage(), "first": side.ours()}
    graph["mask"] = side.node("SolidMask", value=1.0, width=2, height=2)
    graph["set"] = side.node("SetLatentNoiseMask", samples=["first", 0], mask=["zero", 0])
    graph["zero"] = side.node("SolidMask", value=0.0, width=2, height=2)
    graph |= side.cores(latent="set")
    before, after = graphs.run(graph, ("first", 0), ("out", 0))
    kept, sound = (pair for pair in zip(before["samples"].unbind(), after["samples"].unbind(), strict=True))
    assert torch.allclose(*kept, atol=1e-6)
    assert not torch.allclose(*sound, atol=1e-2)


def test_preview_and_progress(graphs: Any, side: Any, monkeypatch: Any) -> None:
    shown: list[Any] = []
    bar = importlib.import_module("comfy.utils").ProgressBar
    monkeypatch.setattr(bar, "update_absolute", lambda self, *values: shown.append(values))
    preview = importlib.import_module("latent_preview")
    monkeypatch.setattr(preview, "default_preview_method", preview.LatentPreviewMethod.Latent2RGB)
    graphs.run({**side.stage(seed=8), **side.cores()}, ("out", 0))
    steps = [values for values in shown if len(values) == 3 and values[2] is not None]
    assert [values[:2] for values in steps] == [(1, 3), (2, 3), (3, 3)]
    kind, picture, _ = steps[-1][2]
    assert (kind, picture.size) == ("JPEG", (2, 2))


def test_interruption(graphs: Any, side: Any) -> None:
    graph = {**side.stage(frames=97, seed=9), **side.cores(3.0)}
    graph["sigmas"] = side.node("OpenLTXSchedule", steps=400, max_shift=2.0, base_shift=0.9, stretch=True, terminal=0.1)
    stopper = threading.Timer(1.0, graphs.executor.stop)
    stopper.start()
    graphs.run(graph, ("out", 0), expect="interrupted")
    stopper.cancel()


@pytest.mark.parametrize("sampler", ["ours", "ComfyUI's"])
def test_an_interrupt_ends_the_run_within_one_block(graphs: Any, side: Any, sampler: str, monkeypatch: Any) -> None:
    block = importlib.import_module("openltx_in_comfyui.networks.transformer.block").Block
    forward, begun = block.forward, []

    def counted(self: Any, *given: Any, **options: Any) -> Any:
        begun.append(self.index)
        if len(begun) == 3:
            graphs.executor.stop()
        return forward(self, *given, **options)

    monkeypatch.setattr(block, "forward", counted)
    pieces = {"out": side.ours(seed=21)} if sampler == "ours" else side.cores()
    graphs.run({**side.stage(seed=21), **pieces}, ("out", 0), expect="interrupted")
    assert len(begun) == 3


def test_patches_of_others_act(graphs: Any, side: Any) -> None:
    plain = graphs.run({**side.stage(), **side.cores(3.0)}, ("out", 0))
    ranges: dict[str, Any] = {"start_percent": 0.0, "end_percent": 1.0}
    patches: dict[str, dict[str, Any]] = {
        "SkipLayerGuidanceDiT": {"double_layers": "0", "single_layers": "", "scale": 3.0, "rescaling_scale": 0.0},
        "EasyCache": {"reuse_threshold": 3.0, "verbose": False},
    }
    for name, options in patches.items():
        graph = {**side.stage(), "patch": side.node(name, model=["load", 0], **options, **ranges)}
        assert differs(graphs.run({**graph, **side.cores(3.0, model="patch")}, ("out", 0)), plain), name


def test_an_attention_of_others_acts(graphs: Any, side: Any) -> None:
    """It is called for every attention, with our own as the function that it may fall back on."""
    model, latent, positive = graphs.run(side.stage(), ("load", 0), ("empty", 0), ("rate", 0))
    calls: list[tuple[int, ...]] = []

    def override(function: Any, q: Any, k: Any, v: Any, heads: int, **how: Any) -> Any:
        calls.append(tuple(q.shape))
        merged = [x.transpose(1, 2).flatten(2) for x in (q, k, v)]
        return function(*merged, heads, mask=how.get("mask"))

    def sampled(patcher: Any) -> Any:
        guider = importlib.import_module("comfy.samplers").CFGGuider(patcher)
        guider.set_conds(positive, positive)
        sampler = importlib.import_module("comfy.samplers").ksampler("euler")
        noise = importlib.import_module("comfy.sample").prepare_noise(latent["samples"], 3)
        with torch.inference_mode():
            return {"samples": guider.sample(noise, latent["samples"], sampler, torch.tensor([1.0, 0.5, 0.0]))}

    patched = model.clone()
    patched.model_options["transformer_options"]["optimized_attention_override"] = override
    assert_close(sampled(patched), sampled(model))
    assert len(calls) > 2 * len(model.model.diffusion_model.transformer_blocks)


def test_conditioning_that_cannot_take_part_is_refused_by_name(graphs: Any, side: Any) -> None:
    module = importlib.import_module("openltx_in_comfyui.nodes.host.comfyui.conditions")
    with pytest.raises(ValueError, match="'control', found a ControlNet; use"):
        module.conditions_of({"control": object()}, [(1, 32, 1, 2, 2)])
    model, empty = graphs.run(side.stage(), ("load", 0)).model, torch.zeros(1, 32, 1, 2, 2)
    with pytest.raises(ValueError, match=r"conditioning: expected contexts of width 192 \+ 96, found 77"):
        model.extra_conds(cross_attn=torch.zeros(1, 4, 77), noise=empty)
    with pytest.raises(ValueError, match=r"conditioning: expected LTX-2\.3.*found LTX-2\.5"):
        model.extra_conds(cross_attn=torch.zeros(1, 4, 192), openltx_generation="2.5", noise=empty)


def test_a_model_of_others_is_named(graphs: Any) -> None:
    own = importlib.import_module("openltx_in_comfyui.nodes.host.comfyui.model").own_model

    class Foreign:
        model = torch.nn.Linear(1, 1)

    with pytest.raises(ValueError, match="model: expected a model from Load LTX Model, found ComfyUI's Linear"):
        own(Foreign(), "model")


def test_a_model_that_fits_in_part_gives_the_same(graphs: Any, side: Any, lora: str, monkeypatch: Any) -> None:
    """Most layers stay outside and are cast, and patched, where they are used."""
    graph = side.stage()
    graph["lora"] = side.node("LoraLoaderModelOnly", model=["load", 0], lora_name=lora, strength_model=0.7)
    whole = graphs.run({**graph, "out": side.ours(model="lora")}, ("out", 0))
    manager = importlib.import_module("comfy.model_management")
    manager.unload_all_models()
    offloaded: list[int] = []

    def load_little(patchers: Any, **options: Any) -> None:
        for patcher in patchers:
            patcher.patch_model(patcher.load_device, lowvram_model_memory=60_000)
            modules = patcher.model.modules()
            offloaded.append(sum(getattr(module, "comfy_cast_weights", False) for module in modules))

    monkeypatch.setattr(manager, "load_models_gpu", load_little)
    part = graphs.anew().run({**graph, "out": side.ours(model="lora")}, ("out", 0))  # with an empty cache
    assert len(offloaded) > 1  # the text encoder too
    assert min(offloaded) > 30
    for one, other in zip(part["samples"].unbind(), whole["samples"].unbind(), strict=True):
        assert torch.equal(one, other)


@pytest.fixture(scope="module")
def quantised(comfyui_base: Path) -> Iterator[str]:
    """The embedded model with the blocks' matrices in scaled fp8."""
    from openltx.model_loaders.checkpoint import open_checkpoint
    from openltx.model_loaders.quantisation.quantise import quantise_fp8_scaled

    source = HERE.parents[1] / "assets" / "openltx-tiny-2.3.safetensors"
    tensors = load_file(source)
    for name in [name for name in tensors if "transformer_blocks" in name and name.endswith(".weight")]:
        if "model.diffusion_model.transformer_blocks" in name and tensors[name].ndim == 2:
            parts = quantise_fp8_scaled(tensors.pop(name).float())
            tensors |= {f"{name.removesuffix('weight')}{part}": value for part, value in parts.items()}
    file = comfyui_base / "models" / "checkpoints" / "tiny-fp8.safetensors"
    file.parent.mkdir(exist_ok=True)
    save_file(tensors, file, open_checkpoint(source).metadata)
    yield file.name
    file.unlink()


def test_quantised_weights(graphs: Any, side: Any, quantised: str, lora: str) -> None:
    """They stay as stored, in both samplers; our LoRA node fits them, ComfyUI's is refused."""
    graph = side.stage()
    graph["load"]["inputs"]["checkpoint"] = quantised
    ours, theirs = (graphs.run({**graph, **sampler}, ("out", 0)) for sampler in ({"out": side.ours()}, side.cores()))
    assert_close(theirs, ours)
    assert differs(ours, graphs.run({**side.stage(), "out": side.ours()}, ("out", 0)))
    factors = dict.fromkeys(("video", "audio", "audio_to_video", "video_to_audio"), 1.0)
    mine = side.node("OpenLTXLoadLora", model=["load", 0], lora=lora, strength=0.7, blocks="", **factors)
    assert differs(graphs.run({**graph, "lora": mine, "out": side.ours(model="lora")}, ("out", 0)), ours)
    graph["lora"] = side.node("LoraLoaderModelOnly", model=["load", 0], lora_name=lora, strength_model=0.7)
    for sampler in ({"out": side.ours(model="lora")}, side.cores(model="lora")):
        text = graphs.run({**graph, **sampler}, ("out", 0), expect="failed")
        assert "expected no patches on quantised weights, found 2 patched layers; use Load LoRA (LTX)" in text
