"""Blocks that come one after the other: the same bits as a transformer that is held whole, in less memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from openltx.model_loaders.assemble import build_on_meta
from openltx.model_loaders.checkpoint import open_checkpoint
from openltx.model_loaders.lora.model import with_lora
from openltx.model_loaders.lora.strengths import LoraStrengths
from openltx.model_loaders.parts import DiffusionModel, open_model
from openltx.model_loaders.placement import Placement
from openltx.model_loaders.streaming import StreamedTransformer, streamed_transformer
from openltx.model_loaders.streaming.network import spread
from openltx.networks.transformer import Call, Stream, Transformer

TINY = Path(__file__).resolve().parents[1] / "assets" / "openltx-tiny-2.3.safetensors"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> DiffusionModel:
    return open_model(TINY, dtype=torch.float32)


def call_of(model: DiffusionModel, seed: int = 0) -> Call:
    torch.manual_seed(seed)
    streams = {}
    for name, config in model.config.streams():
        tokens = {"video": 24, "audio": 10}[name]
        streams[name] = Stream(
            latent=torch.randn(1, tokens, config.in_channels),
            sigma=torch.full((1,), 0.7),
            timesteps=torch.full((1, 1, 1), 0.7),
            positions=torch.rand(1, len(config.max_pos), tokens, 2),
            context=torch.randn(1, 16, model.config.caption_channels or config.width),
        )
    return Call(video=streams["video"], audio=streams["audio"])


@torch.inference_mode()
def outputs(network: Transformer, *calls: Call) -> list[Tensor]:
    found = network.forward_each(calls)
    return [tensor for pair in found for tensor in pair if tensor is not None]


def streamed(model: DiffusionModel, placement: Placement, dtype: torch.dtype = torch.float32) -> StreamedTransformer:
    clean = model.clean or model.transformer.source
    return streamed_transformer(clean, model.loras, CPU, dtype, placement)


def equal(found: list[Tensor], expected: list[Tensor]) -> bool:
    return len(found) == len(expected) and all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("resident", [0, 1, 3])
@pytest.mark.parametrize("slots", [1, 2, 3])
def test_streamed_blocks_give_the_same_bits(model: DiffusionModel, resident: int, slots: int) -> None:
    call = call_of(model)
    network = streamed(model, Placement(resident_blocks=resident, slots=slots))
    expected = outputs(model.transformer.on(CPU), call)
    for _ in range(3):  # the blocks come round
        assert equal(outputs(network, call), expected)


def test_a_block_comes_once_for_several_calls(model: DiffusionModel) -> None:
    first, second = call_of(model), call_of(model, seed=1)
    network = streamed(model, Placement(resident_blocks=0))
    whole = model.transformer.on(CPU)
    assert equal(outputs(network, first, second), outputs(whole, first) + outputs(whole, second))
    stream = network.stream
    sizes = sum(piece.size for block in stream.blocks for piece in block.pieces)
    first_of_next = sum(piece.size for piece in stream.blocks[0].pieces)
    assert stream.counted <= sizes + first_of_next


def test_only_slots_and_resident_blocks_take_memory(model: DiffusionModel) -> None:
    network = streamed(model, Placement(resident_blocks=1))
    outputs(network, call_of(model))
    stream = network.stream
    assert stream.device_bytes == 2 * max(block.size for block in stream.blocks)
    for block in stream.blocks:
        assert all(piece.owner._parameters[piece.name] is piece.stored for piece in block.pieces)


def test_a_run_that_broke_off_can_be_followed_by_another(model: DiffusionModel) -> None:
    network, call = streamed(model, Placement(resident_blocks=0)), call_of(model)
    hook = network.transformer_blocks[1].register_forward_pre_hook(stop)
    with pytest.raises(KeyError):
        outputs(network, call)
    hook.remove()
    assert equal(outputs(network, call), outputs(model.transformer.on(CPU), call))


def stop(*_: object) -> None:
    raise KeyError("stop")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_lora_is_applied_on_the_way(tmp_path: Path, dtype: torch.dtype) -> None:
    plain = open_model(TINY, dtype=dtype)
    adapted, _ = with_lora(plain, lora_file(tmp_path, plain), LoraStrengths(video=0.7))
    call = call_of(plain)
    assert call.video is not None
    assert call.audio is not None
    call = Call(video=cast(call.video, dtype), audio=cast(call.audio, dtype))
    expected = outputs(adapted.transformer.on(CPU), call)
    assert not equal(outputs(plain.transformer.on(CPU), call), expected)
    for resident in (0, 2):
        assert equal(outputs(streamed(adapted, Placement(resident_blocks=resident), dtype), call), expected)


def cast(stream: Stream, dtype: torch.dtype) -> Stream:
    return replace(stream, latent=stream.latent.to(dtype), context=stream.context.to(dtype))


def lora_file(folder: Path, model: DiffusionModel) -> Path:
    """Pairs for a layer of two blocks, a difference of a table, and a layer outside the blocks."""
    shapes = {name: tuple(p.shape) for name, p in build_on_meta(lambda: Transformer(model.config)).state_dict().items()}
    generator, tensors = torch.Generator().manual_seed(1), {}
    for layer in ("transformer_blocks.0.attn1.to_q", "transformer_blocks.1.ff.net.2", "patchify_proj"):
        rows, columns = shapes[f"{layer}.weight"]
        tensors[f"diffusion_model.{layer}.lora_A.weight"] = torch.randn(4, columns, generator=generator)
        tensors[f"diffusion_model.{layer}.lora_B.weight"] = torch.randn(rows, 4, generator=generator)
    layer = "transformer_blocks.1.attn1.to_k"
    tensors[f"diffusion_model.{layer}.diff_b"] = torch.randn(shapes[f"{layer}.bias"], generator=generator)
    save_file(tensors, folder / "lora.safetensors")
    return folder / "lora.safetensors"


def test_stored_weights_travel_as_they_are_stored(tmp_path: Path) -> None:
    path = tmp_path / "fp8.safetensors"
    tensors = load_file(TINY)
    narrow = {name: codes(name, tensor) for name, tensor in tensors.items()}
    save_file(narrow, path, open_checkpoint(TINY).metadata)
    model = open_model(path, dtype=torch.float32)
    adapted, _ = with_lora(model, lora_file(tmp_path, model), LoraStrengths())
    call = call_of(model)
    for handle in (model, adapted):
        network = streamed(handle, Placement(resident_blocks=0))
        assert equal(outputs(network, call), outputs(handle.transformer.on(CPU), call))
        stream = network.stream
        assert any(piece.dtype is torch.float8_e4m3fn for piece in stream.blocks[0].pieces)


def codes(name: str, tensor: Tensor) -> Tensor:
    wide = "transformer_blocks." in name and ".attn1.to_" in name and name.endswith("weight") and tensor.ndim == 2
    return tensor.to(torch.float8_e4m3fn) if wide and "connector" not in name else tensor


@pytest.mark.parametrize(("blocks", "streamed", "expected"), [(48, 48, range(48)), (6, 2, [0, 3]), (5, 0, [])])
def test_streamed_blocks_lie_evenly_between_the_others(blocks: int, streamed: int, expected: Iterable[int]) -> None:
    assert spread(blocks, streamed) == list(expected)
