"""Quantised transformers at run time: stored weights stay stored, and compute what their dequantised values would."""

from __future__ import annotations

import json
import logging
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from openltx.model_loaders.checkpoint import CheckpointError, open_checkpoint
from openltx.model_loaders.gguf.blocks import dequantise_blocks
from openltx.model_loaders.lora.model import with_lora
from openltx.model_loaders.lora.strengths import LoraStrengths
from openltx.model_loaders.operations import Recipe, StoredLinear
from openltx.model_loaders.operations.scaled_mm import can_multiply
from openltx.model_loaders.parts import open_model
from openltx.model_loaders.quantisation.layer import QuantisedLayer
from openltx.model_loaders.quantisation.quantise import (
    quantise_fp8_cast,
    quantise_fp8_scaled,
    quantise_int8,
    quantise_mxfp8,
    quantise_nvfp4,
)
from openltx.model_loaders.transformer import load_transformer, transformer_config
from openltx.networks.transformer import Stream, StreamConfig, Transformer, TransformerConfig
from openltx.training.lora.adapters import add_adapters, matching_layers
from openltx.training.lora.export import lora_tensors

CPU = torch.device("cpu")
PREFIX = "model.diffusion_model."
STREAM = StreamConfig(width=64, in_channels=32, out_channels=32, max_pos=(20, 2048, 2048))
CONFIG = TransformerConfig(
    num_layers=2,
    num_heads=4,
    video=STREAM,
    audio=StreamConfig(width=64, in_channels=32, out_channels=32, max_pos=(20,)),
    caption_channels=None,
    text_modulation=True,
    prompt_embedder=True,
    gated_attention=True,
    keyframe_marker=False,
)
METADATA = {"config": json.dumps({"transformer": {"num_attention_heads": 4}})}
FORMATS: dict[str, tuple[Callable[[Tensor], dict[str, Tensor]], dict[str, Any] | None, float]] = {
    "fp8_cast": (quantise_fp8_cast, None, 0.05),
    "fp8_scaled": (quantise_fp8_scaled, None, 0.05),
    "int8": (quantise_int8, None, 0.02),
    "int8_rotated": (
        partial(quantise_int8, rotation=16),
        {"format": "int8_tensorwise", "convrot": True, "convrot_groupsize": 16},
        0.02,
    ),
    "mxfp8": (quantise_mxfp8, {"format": "mxfp8"}, 0.05),
    "mxfp8_by_dtypes": (quantise_mxfp8, None, 0.05),
    "nvfp4": (quantise_nvfp4, None, 0.2),
}
EACH = pytest.mark.parametrize("kind", FORMATS)


def _network() -> Transformer:
    generator = torch.Generator().manual_seed(1)
    network = Transformer(CONFIG)
    for name, parameter in network.named_parameters():
        spread = parameter.shape[-1] ** -0.5 if parameter.ndim == 2 and "table" not in name else 0.3
        parameter.data = torch.randn(parameter.shape, generator=generator) * spread + ("_norm" in name)
    return network.eval().requires_grad_(False)


def _is_linear(name: str, tensor: Tensor) -> bool:
    return name.startswith("transformer_blocks.") and name.endswith(".weight") and tensor.ndim == 2


def _write(path: Path, kind: str) -> Path:
    quantise, description, _ = FORMATS[kind]
    tensors: dict[str, Tensor] = {}
    for name, tensor in _network().state_dict().items():
        if not _is_linear(name, tensor):
            tensors[PREFIX + name] = tensor.contiguous()
            continue
        layer = PREFIX + name.removesuffix(".weight")
        tensors |= {f"{layer}.{part}": stored.contiguous() for part, stored in quantise(tensor).items()}
        if description is not None:
            text = json.dumps(description).encode()
            tensors[f"{layer}.comfy_quant"] = torch.tensor(list(text), dtype=torch.uint8)
    save_file(tensors, path, METADATA)
    return path


def _streams() -> tuple[Stream, Stream]:
    generator = torch.Generator().manual_seed(3)

    def one(tokens: int, axes: int) -> Stream:
        start = torch.arange(tokens).float().expand(1, axes, tokens)
        return Stream(
            latent=torch.randn(1, tokens, 32, generator=generator),
            sigma=torch.tensor([0.7]),
            timesteps=torch.full((1, tokens, 1), 0.7),
            positions=torch.stack((start, start + 1), dim=-1),
            context=torch.randn(1, 5, 64, generator=generator),
        )

    return one(6, 3), one(4, 1)


def _run(network: Transformer) -> Tensor:
    with torch.inference_mode():
        video, audio = network(*_streams())
    return torch.cat([video.flatten(), audio.flatten()])


def _dense(network: Transformer) -> Transformer:
    """The same network with ordinary weights: what every stored one says that it is."""
    plain = Transformer(CONFIG)
    state = {name: tensor for name, tensor in network.state_dict().items() if name in plain.state_dict()}
    for name, module in network.named_modules():
        if isinstance(module, StoredLinear):
            state[f"{name}.weight"] = module.dense_weight(torch.float32)
    plain.load_state_dict(state)
    return plain.eval()


@EACH
def test_a_quantised_file_computes_what_its_values_say(tmp_path: Path, kind: str) -> None:
    network = load_transformer(open_checkpoint(_write(tmp_path / "q.safetensors", kind)))
    got = _run(network)
    torch.testing.assert_close(got, _run(_dense(network)), rtol=1e-5, atol=1e-5)
    original = _run(_network())
    assert (got - original).norm() / original.norm() < 3 * FORMATS[kind][2]


@EACH
def test_weights_stay_as_stored_and_survive_a_cast(tmp_path: Path, kind: str) -> None:
    path = _write(tmp_path / "q.safetensors", kind)
    file, model = open_checkpoint(path), open_model(path, dtype=torch.bfloat16)
    network = model.transformer.on(CPU)
    stored = file.load(file.names())
    for name, module in network.named_modules():
        if isinstance(module, StoredLinear) and module.recipe is not None:
            for part, tensor in module._tensors().items():
                key = f"{PREFIX}{name}.{part}"
                assert tensor.dtype == stored[key].dtype
                assert torch.equal(tensor.reshape(-1).view(torch.uint8), stored[key].reshape(-1).view(torch.uint8))
            assert module.bias is None or module.bias.dtype is torch.bfloat16
    assert network.dtype is torch.bfloat16
    held = sum(p.numel() * p.element_size() for n, p in network.named_parameters() if n.startswith("transformer_bl"))
    plain = sum(p.numel() * 2 for n, p in _network().named_parameters() if n.startswith("transformer_blocks"))
    assert held < 0.8 * plain
    assert model.weight_format == kind.split("_by")[0].replace("_rotated", "")


def test_the_choice_is_said_once_when_the_network_comes_to_its_device(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = open_model(_write(tmp_path / "q.safetensors", "nvfp4"), dtype=torch.bfloat16)
    with caplog.at_level(logging.INFO, logger="openltx"):
        for _ in range(2):
            model.transformer.on(CPU)
    lines = [record.getMessage() for record in caplog.records if "kept as stored" in record.getMessage()]
    assert lines == ["Transformer on cpu, layers kept as stored: 68 nvfp4: dequantised in each call"]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_scale_that_is_no_number_is_refused(tmp_path: Path, bad: float) -> None:
    path = _write(tmp_path / "q.safetensors", "fp8_scaled")
    file = open_checkpoint(path)
    tensors = file.load(file.names())
    name = f"{PREFIX}transformer_blocks.1.attn1.to_q.weight_scale"
    save_file(tensors | {name: torch.tensor(bad)}, tmp_path / "nan.safetensors", METADATA)
    with pytest.raises(CheckpointError, match=rf"{name}: expected finite scales") as error:
        load_transformer(open_checkpoint(tmp_path / "nan.safetensors"))
    assert "\n" not in str(error.value)


def test_an_input_scale_of_one_is_a_placeholder_and_the_cpu_never_takes_the_fast_path() -> None:
    layer = QuantisedLayer(name="l", format="float8_e4m3fn", tensors={})
    tensors = quantise_fp8_scaled(torch.randn(32, 32)) | {"input_scale": torch.tensor(0.5)}
    assert not can_multiply(torch.ones(1, 32, dtype=torch.bfloat16), tensors, layer)


# GGUF


def _q8_0(weight: Tensor) -> bytes:
    blocks = weight.reshape(-1, 32)
    scale = (blocks.abs().amax(dim=1, keepdim=True) / 127).half()
    codes = (blocks / scale.float()).round().clamp(-127, 127).to(torch.int8)
    return torch.cat((scale.view(torch.uint8), codes.view(torch.uint8)), dim=1).numpy().tobytes()


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _write_gguf(path: Path) -> Path:
    rows, data = b"", b""
    state = _network().state_dict()
    for name, tensor in state.items():
        quantised = _is_linear(name, tensor)
        bytes_of = _q8_0(tensor) if quantised else tensor.contiguous().numpy().tobytes()
        data += b"\0" * (-len(data) % 32)
        rows += _text(name) + struct.pack("<I", tensor.ndim)
        rows += b"".join(struct.pack("<Q", size) for size in reversed(tensor.shape))
        rows += struct.pack("<IQ", 8 if quantised else 0, len(data))
        data += bytes_of
    fields = _text("general.architecture") + struct.pack("<I", 8) + _text("ltxv")
    fields += _text("config") + struct.pack("<I", 8) + _text(METADATA["config"])
    head = b"GGUF" + struct.pack("<IQQ", 3, len(state), 2) + fields + rows
    path.write_bytes(head + b"\0" * (-len(head) % 32) + data)
    return path


def test_a_gguf_transformer_keeps_its_blocks(tmp_path: Path) -> None:
    path = _write_gguf(tmp_path / "q.gguf")
    model = open_model(path, dtype=torch.float32)
    assert (model.generation, model.weight_format) == ("2.3", "gguf_q8_0")
    assert transformer_config(open_checkpoint(path)) == CONFIG
    network = model.transformer.on(CPU)
    layer = network.get_submodule("transformer_blocks.0.attn1.to_q")
    assert isinstance(layer, StoredLinear)
    assert layer.weight.dtype is torch.uint8
    got, original = _run(network), _run(_network())
    torch.testing.assert_close(got, _run(_dense(network)), rtol=1e-5, atol=1e-5)
    assert (got - original).norm() / original.norm() < 0.02


# LoRA beside stored weights


def _lora(path: Path, *, extra: dict[str, Tensor] | None = None) -> Path:
    generator = torch.Generator().manual_seed(7)
    tensors: dict[str, Tensor] = {}
    for name, tensor in _network().state_dict().items():
        if _is_linear(name, tensor) and ".1." in name:
            layer = f"diffusion_model.{name.removesuffix('.weight')}"
            tensors[f"{layer}.lora_A.weight"] = torch.randn(4, tensor.shape[1], generator=generator) * 0.1
            tensors[f"{layer}.lora_B.weight"] = torch.randn(tensor.shape[0], 4, generator=generator) * 0.1
    save_file(tensors | (extra or {}), path)
    return path


@pytest.mark.parametrize("kind", ["fp8_scaled", "nvfp4", "gguf"])
def test_a_lora_beside_stored_weights_is_the_merged_one(tmp_path: Path, kind: str) -> None:
    path = _write_gguf(tmp_path / "q.gguf") if kind == "gguf" else _write(tmp_path / "q.safetensors", kind)
    layer = "diffusion_model.transformer_blocks.0.ff.net.2"
    diff = {f"{layer}.diff": torch.full((64, 256), 0.01), f"{layer}.diff_b": torch.ones(64)}
    lora = _lora(tmp_path / "lora.safetensors", extra=diff)
    clean = open_model(path, dtype=torch.float32)
    model, report = with_lora(clean, lora, LoraStrengths().scaled(0.5))
    model, _ = with_lora(model, lora, LoraStrengths(audio=0.0).scaled(-0.25))
    assert report.applied == 35
    assert report.ignored == {}
    adapted = model.transformer.on(CPU)
    assert len(model.loras) == 2
    dense_file = tmp_path / "dense.safetensors"
    state = _dense(clean.transformer.on(CPU)).state_dict()
    save_file({PREFIX + name: tensor.contiguous() for name, tensor in state.items()}, dense_file, METADATA)
    merged, _ = with_lora(open_model(dense_file, dtype=torch.float32), lora, LoraStrengths().scaled(0.5))
    merged, _ = with_lora(merged, lora, LoraStrengths(audio=0.0).scaled(-0.25))
    got, expected = _run(adapted), _run(merged.transformer.on(CPU))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(got, _run(clean.transformer.on(CPU)), atol=1e-2)


def test_a_stored_layer_moves_and_casts_like_a_plain_one() -> None:
    layer = StoredLinear(32, 16)
    weight = torch.randn(16, 32)
    layer.store(
        quantise_int8(weight),
        Recipe(name="int8", dequantise=lambda tensors, dtype: (tensors["weight"] * tensors["weight_scale"]).to(dtype)),
    )
    layer.half()
    assert layer.weight.dtype is torch.int8
    assert layer.get_parameter("weight_scale").dtype is torch.float32
    assert layer.bias.dtype is torch.float16
    assert layer(torch.ones(2, 3, 32, dtype=torch.float16)).shape == (2, 3, 16)
    assert "stored=int8" in repr(layer)
    assert set(layer.state_dict()) == {"weight", "weight_scale", "bias"}


def test_blocks_are_dequantised_in_the_dtype_asked_for() -> None:
    data = torch.frombuffer(bytearray(_q8_0(torch.randn(1, 64))), dtype=torch.uint8).view(-1, 34)
    assert dequantise_blocks(data, "Q8_0", dtype=torch.float16).dtype is torch.float16


@EACH
def test_a_lora_is_trained_around_stored_layers(kind: str, tmp_path: Path) -> None:
    """They stay stored, gradients pass through them, and the file then gives what the adapters gave."""
    path = _write(tmp_path / "model.safetensors", kind)
    network = load_transformer(open_checkpoint(path))
    dtypes = {name: parameter.dtype for name, parameter in network.state_dict().items()}
    names = matching_layers(network, ("attn1.to_q", "ff.net.2"))
    adapters = add_adapters(network, names, rank=2, scale=0.5, seed=0)
    with torch.no_grad():
        for layer in adapters.layers.values():
            layer.up.copy_(torch.randn(layer.up.shape, generator=torch.Generator().manual_seed(layer.up.shape[0])))
    video, _ = network(*_streams())
    assert video is not None
    video.square().sum().backward()
    first = adapters.layers["transformer_blocks.0.attn1.to_q"]
    assert first.down.grad is not None
    assert float(first.down.grad.abs().max()) > 0
    kept = {name.replace(".base.", "."): tensor.dtype for name, tensor in network.state_dict().items()}
    assert dtypes == {name: kept[name] for name in dtypes}
    file = tmp_path / "lora.safetensors"
    save_file(lora_tensors(adapters, torch.float32), file)
    adapted, report = with_lora(open_model(path, dtype=torch.float32), file, LoraStrengths())
    assert report.applied == len(adapters.layers)
    with torch.no_grad():
        found, _ = adapted.transformer.on(CPU)(*_streams())
    assert found is not None
    assert torch.allclose(found, video.detach(), rtol=1e-4, atol=1e-4 * float(video.detach().abs().max()))
