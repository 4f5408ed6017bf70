"""Quantised text encoders: discovery, refusals, properties of the formats, projections in layers of a host."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from openltx.model_loaders.assemble import strip_prefix
from openltx.model_loaders.checkpoint import Checkpoint, CheckpointError, TensorEntry, open_checkpoint
from openltx.model_loaders.encoder_files import find_encoder
from openltx.model_loaders.operations import StoredLinear
from openltx.model_loaders.quantisation.blocks import untile
from openltx.model_loaders.quantisation.discovery import quantised_layers
from openltx.model_loaders.quantisation.formats import FORMATS, dequantise
from openltx.model_loaders.quantisation.int8 import hadamard, rotate_groups
from openltx.model_loaders.quantisation.layer import QuantisedLayer
from openltx.model_loaders.quantisation.nvfp4 import unpack
from openltx.model_loaders.quantisation.weights import assemble_plain, plain_weights
from openltx.model_loaders.text_encoder import load_decoder
from openltx.model_loaders.text_projection import load_connector, load_projection
from openltx.networks.operations import Operations
from openltx.networks.text import features
from openltx.networks.text.features import ProjectionConfig, SeparateProjection, SharedProjection

ROOT = Path(__file__).resolve().parents[1]


def golden(name: str) -> Path:
    for folder in (ROOT / "tests/golden/text", ROOT.parent / "shared/golden/text"):
        if (folder / name).exists():
            return folder / name
    pytest.skip(f"NOT TESTED: quantised encoder files; no golden vector {name} found")


Entries = Mapping[str, tuple[str, tuple[int, ...]]]


def header(entries: Entries, **metadata: str) -> Checkpoint:
    """A checkpoint of which only the header exists."""
    rows = {name: TensorEntry(dtype=dtype, shape=shape, start=0, end=0) for name, (dtype, shape) in entries.items()}
    return Checkpoint(path=Path("gemma.safetensors"), metadata=metadata, entries=rows)


def described(**layers: dict[str, Any]) -> str:
    return json.dumps({"format_version": "1.0", "layers": layers})


# discovery

FP8 = {"a.weight": ("F8_E4M3", (4, 8)), "a.weight_scale": ("F32", ())}
NVFP4 = {
    "a.weight": ("U8", (16, 8)),
    "a.weight_scale": ("F8_E4M3", (128, 4)),
    "a.weight_scale_2": ("F32", ()),
}


def test_official_files_are_recognised_by_their_dtypes() -> None:
    assert quantised_layers(header(FP8))["a"].format == "float8_e4m3fn"
    assert quantised_layers(header(NVFP4))["a"].format == "nvfp4"
    assert quantised_layers(header({"a.weight": ("F8_E4M3", (4, 8)), "b.weight": ("BF16", (4, 8))})) == {}


@pytest.mark.parametrize(("size", "full_precision"), [(0, False), (2, True)])
def test_older_marking(size: int, full_precision: bool) -> None:
    entries = {
        "scaled_fp8": ("F8_E4M3", (size,)),
        "a.weight": ("F8_E4M3", (4, 8)),
        "a.scale_weight": ("F32", (1,)),
        "a.scale_input": ("F32", ()),
        "b.weight": ("BF16", (4, 8)),
    }
    assert quantised_layers(header(entries)) == {
        "a": QuantisedLayer(
            name="a",
            format="float8_e4m3fn",
            tensors={"weight": "a.weight", "weight_scale": "a.scale_weight", "input_scale": "a.scale_input"},
            full_precision=full_precision,
        )
    }


@pytest.mark.parametrize("nested", [False, True])
def test_description_in_the_metadata(nested: bool) -> None:
    fields = {"convrot": True, "convrot_groupsize": 64, "full_precision_matrix_mult": True}
    description = {"format": "int8_tensorwise", **({"params": fields} if nested else fields)}
    entries = {"a.weight": ("I8", (4, 64)), "a.weight_scale": ("F32", (4, 1))}
    layer = quantised_layers(header(entries, _quantization_metadata=described(a=description)))["a"]
    assert (layer.format, layer.rotation, layer.full_precision) == ("int8_tensorwise", 64, True)


@pytest.mark.parametrize(
    ("entries", "description", "words"),
    [
        (FP8, {"format": "int4_rotated"}, "a: expected one of the formats .*found 'int4_rotated'"),
        (FP8, {}, "found 'None'"),
        (FP8, {"format": "nvfp4"}, "a: expected a nvfp4 layer .* found it in F8_E4M3 without weight_scale_2"),
        ({"a.weight": ("I8", (4, 8))}, {"format": "int8_tensorwise"}, "without weight_scale"),
        ({name: row for name, row in NVFP4.items() if name != "a.weight_scale"}, None, "without weight_scale"),
        ({name: row for name, row in NVFP4.items() if name != "a.weight_scale_2"}, None, "without weight_scale_2"),
    ],
)
def test_what_cannot_be_read_is_named(entries: Entries, description: dict[str, Any] | None, words: str) -> None:
    metadata = {} if description is None else {"_quantization_metadata": described(a=description)}
    with pytest.raises(CheckpointError, match=words) as caught:
        quantised_layers(header(entries, **metadata))
    assert "\n" not in str(caught.value)


def test_damaged_descriptions_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="'_quantization_metadata': expected JSON"):
        quantised_layers(header(FP8, _quantization_metadata="{"))
    path = tmp_path / "damaged.safetensors"
    save_file({"a.weight": torch.zeros(4, 4), "a.comfy_quant": torch.tensor(list(b"[]"), dtype=torch.uint8)}, path)
    with pytest.raises(CheckpointError, match="tensor a.comfy_quant: expected a JSON object"):
        quantised_layers(open_checkpoint(path))


# formats


def layer(kind: str, rotation: int | None = None) -> QuantisedLayer:
    return QuantisedLayer(name="a", format=kind, tensors={}, rotation=rotation)


@pytest.mark.parametrize("size", [4, 16, 64, 256])
def test_rotation_is_symmetric_and_orthogonal(size: int) -> None:
    matrix = hadamard(size, name="a")
    assert torch.equal(matrix, matrix.T)
    torch.testing.assert_close(matrix @ matrix, torch.eye(size), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [1, 8, 128])
def test_rotation_in_impossible_groups_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"a: expected a rotation in groups of 4, .*found {size}"):
        rotate_groups(torch.zeros(1, 128), size, name="a")
    with pytest.raises(ValueError, match="divide 100 inputs"):
        rotate_groups(torch.zeros(1, 100), 16, name="a")


def test_block_scales_lie_where_the_specification_says() -> None:
    rows, columns = 256, 8
    stored = torch.arange(rows * columns).remainder(251).to(torch.uint8)
    found = untile(stored.reshape(rows, columns), 200, 7, name="a")
    assert found.shape == (200, 7)
    for r in (0, 1, 31, 32, 100, 127, 128, 199):
        for c in range(7):
            tile = (r // 128) * (columns // 4) + c // 4
            offset = tile * 512 + r % 32 * 16 + r % 128 // 32 * 4 + c % 4
            assert found[r, c] == stored[offset]


def test_even_elements_lie_in_the_high_half() -> None:
    packed = torch.tensor([[0x17, 0x9F]], dtype=torch.uint8)
    assert unpack(packed, torch.float32).tolist() == [[0.5, 6.0, -0.5, -6.0]]


@pytest.mark.parametrize("kind", ["float8_e4m3fn", "int8_tensorwise", "nvfp4", "mxfp8"])
def test_scales_of_another_shape_are_refused(kind: str) -> None:
    dtypes = {"F8_E4M3": torch.float8_e4m3fn, "I8": torch.int8, "U8": torch.uint8}
    weight = torch.zeros(32, 32).to(dtypes[FORMATS[kind].dtypes[0]])
    scales = torch.zeros(3, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"a: expected .* found shape \(3,\)|a: expected .* found \(3,\)"):
        dequantise({"weight": weight, "weight_scale": scales, "weight_scale_2": torch.ones(())}, layer(kind))


# components


def assemble_file(path: Path, dtype: torch.dtype | None = None) -> nn.Linear:
    """The layer `a` of a file."""
    file = open_checkpoint(path)
    part = plain_weights(file, strip_prefix(file.entries, "a."))
    return assemble_plain(lambda: nn.Linear(64, 4), [part], what="layer", dtype=dtype)


@pytest.mark.parametrize(
    ("dtype", "expected"), [(None, torch.bfloat16), (torch.float32, torch.float32)], ids=["as neighbours", "asked for"]
)
def test_dtype_of_dequantised_weights(tmp_path: Path, dtype: torch.dtype | None, expected: torch.dtype) -> None:
    path = tmp_path / "a.safetensors"
    weight = torch.randn(4, 64).to(torch.float8_e4m3fn)
    scale = torch.tensor(0.37)
    save_file({"a.weight": weight, "a.weight_scale": scale, "a.bias": torch.zeros(4, dtype=torch.bfloat16)}, path)
    linear = assemble_file(path, dtype)
    assert linear.weight.dtype is expected
    assert linear.bias.dtype is torch.bfloat16
    assert torch.equal(linear.weight, (weight.float() * scale).to(expected))


def test_narrow_weights_without_a_scale_are_ordinary_ones(tmp_path: Path) -> None:
    path = tmp_path / "cast.safetensors"
    weight = torch.randn(4, 64).to(torch.float8_e4m3fn)
    save_file({"a.weight": weight, "a.bias": torch.zeros(4)}, path)
    linear = assemble_file(path)
    assert linear.weight.dtype is torch.float32
    assert torch.equal(linear.weight, weight.float())


def test_integers_without_a_description_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    save_file({"a.weight": torch.zeros(4, 64, dtype=torch.int8), "a.bias": torch.zeros(4)}, path)
    with pytest.raises(CheckpointError, match="a.weight: expected a weight in F32, .*found I8 without one"):
        assemble_file(path)


def quantise_rotated(weight: Tensor, group: int) -> tuple[Tensor, Tensor]:
    rotated = rotate_groups(weight.float(), group, name="")
    scale = rotated.abs().amax(dim=1, keepdim=True) / 127
    return (rotated / scale).round().to(torch.int8), scale


def test_packed_encoder_in_rotated_int8(tmp_path: Path) -> None:
    """All linears of the 2.5 encoder, projections included, as the int8 variant of its file has them."""
    source = open_checkpoint(golden("gemma4_packed.safetensors"))
    tensors = source.load(source.names())
    description = b'{"format": "int8_tensorwise", "convrot": true, "convrot_groupsize": 16}'
    for name in [name for name in tensors if "proj.weight" in name or "aggregate_embed.weight" in name]:
        if not name.startswith(("model.", "text_embedding_projection.")):
            continue
        base = name.removesuffix(".weight")
        tensors[name], tensors[f"{base}.weight_scale"] = quantise_rotated(tensors[name], 16)
        tensors[f"{base}.comfy_quant"] = torch.tensor(list(description), dtype=torch.uint8)
    path = tmp_path / "gemma4-int8.safetensors"
    save_file(tensors, path, metadata=source.metadata)

    exact, rough = load_decoder(find_encoder(source.path)), load_decoder(find_encoder(path))
    values = dense(rough)
    assert values.keys() == exact.state_dict().keys()
    for name, weight in exact.state_dict().items():
        torch.testing.assert_close(values[name], weight, rtol=0, atol=0.02 * float(weight.abs().max()))
    wanted = load_projection([source], hidden_size=48, num_states=5)
    found = load_projection([open_checkpoint(path)], hidden_size=48, num_states=5)
    assert isinstance(found, SeparateProjection)
    for name, weight in wanted.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], weight, rtol=0, atol=0.02 * float(weight.abs().max()))


# layers stay as they are stored


def dense(network: nn.Module) -> dict[str, Tensor]:
    """The weights that a network computes with, in float32."""
    stored = {name: module for name, module in network.named_modules() if isinstance(module, StoredLinear)}
    described = {f"{name}.{part}" for name, module in stored.items() for part in module._parts}
    values = {name: tensor for name, tensor in network.state_dict().items() if name not in described}
    return values | {f"{name}.weight": module.dense_weight(torch.float32) for name, module in stored.items()}


QUANTISED = ["gemma3_single_file_fp8_legacy.safetensors", "gemma3_single_file_mixed_quant.safetensors"]


@pytest.mark.parametrize("name", QUANTISED)
def test_a_quantised_decoder_computes_what_its_values_say_and_stays_small(name: str) -> None:
    encoder = find_encoder(golden(name))
    plain_layers = cast(Operations, SimpleNamespace(Linear=nn.Linear, Embedding=nn.Embedding))  # a host's: expanded
    kept, expanded = load_decoder(encoder), load_decoder(encoder, operations=plain_layers)
    stored = [module for module in kept.modules() if isinstance(module, StoredLinear) and module.recipe]
    assert len(stored) >= 4
    assert not any(isinstance(module, StoredLinear) for module in expanded.modules())
    ids = torch.tensor([[2, 5, 9, 4]])
    for found, wanted in zip(kept.hidden_states(ids), expanded.hidden_states(ids), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    entries = [(name, entry) for file in encoder.files for name, entry in file.entries.items()]
    assert held(kept.layers) <= sum(entry.end - entry.start for name, entry in entries if ".layers." in name)
    assert held(kept.layers) < held(expanded.layers)


def held(network: nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())


@pytest.mark.parametrize("name", QUANTISED)
def test_a_cast_leaves_stored_weights_alone(name: str) -> None:
    decoder = load_decoder(find_encoder(golden(name)))
    before = {name: module._tensors() for name, module in decoder.named_modules() if isinstance(module, StoredLinear)}
    decoder.to(torch.bfloat16)
    for name, tensors in before.items():
        for part, tensor in tensors.items():
            assert decoder.get_submodule(name)._tensors()[part].dtype is tensor.dtype  # type: ignore[operator]
    assert decoder.norm.weight.dtype is torch.bfloat16
    assert all(state.dtype is torch.bfloat16 for state in decoder.hidden_states(torch.tensor([[2, 5]])))


def test_a_connector_in_int8_stays_in_int8(tmp_path: Path) -> None:
    source = open_checkpoint(golden("connectors_2.3.safetensors"))
    tensors = source.load(source.names())
    for name in [name for name in tensors if "video_embeddings" in name and name.endswith("to_q.weight")]:
        tensors[name], scale = quantise_rotated(tensors[name], 16)
        tensors[f"{name.removesuffix('weight')}weight_scale"] = scale
        description = b'{"format": "int8_tensorwise", "convrot": true, "convrot_groupsize": 16}'
        tensors[f"{name.removesuffix('weight')}comfy_quant"] = torch.tensor(list(description), dtype=torch.uint8)
    path = tmp_path / "connectors.safetensors"
    save_file(tensors, path, metadata=source.metadata)
    exact, rough = load_connector([source], "video"), load_connector([open_checkpoint(path)], "video")
    layer = rough.get_submodule("transformer_1d_blocks.0.attn1.to_q")
    assert layer.weight.dtype is torch.int8
    features_in, mask = torch.randn(1, 3, exact.config.width), torch.ones(1, 3, dtype=torch.int64)
    length = exact.config.num_registers
    torch.testing.assert_close(
        rough(features_in, mask, length=length), exact(features_in, mask, length=length), rtol=0.05, atol=0.05
    )


# the projection in layers of a host


class Int8Linear(nn.Linear):
    """A layer whose weight means something only when the layer is called."""

    def quantise(self) -> None:
        weight, self.scale = self.weight.data, self.weight.data.abs().max() / 127
        self.weight = nn.Parameter((weight / self.scale).round().to(torch.int8), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x) * self.scale.to(x), None if self.bias is None else self.bias.to(x))


class PatchedLinear(nn.Linear):
    """A layer that adds an update to its weight at call time."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight + 1, self.bias)


def host_operations(kind: type[nn.Linear]) -> Operations:
    return cast(Operations, SimpleNamespace(Linear=kind))


def projection(kind: type[nn.Linear], version: type[SharedProjection] | type[SeparateProjection]) -> nn.Module:
    audio = 3 if version is SeparateProjection else None
    config = ProjectionConfig(hidden_size=6, num_states=9, video_features=8, audio_features=audio)
    network = version(config, operations=host_operations(kind))
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return network.requires_grad_(False)


@pytest.mark.parametrize("version", [SharedProjection, SeparateProjection])
@pytest.mark.parametrize("kind", [Int8Linear, PatchedLinear])
def test_projection_calls_layers_that_are_not_plain(
    kind: type[nn.Linear], version: type[SharedProjection] | type[SeparateProjection]
) -> None:
    states = torch.randn(9, 2, 5, 6, generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[0, 1, 1, 1, 1], [1, 1, 1, 1, 1]])
    plain, host = projection(nn.Linear, version), projection(kind, version)
    for linear in host.children():
        if isinstance(linear, Int8Linear):
            linear.quantise()
    for (name, linear), (_, own) in zip(plain.named_children(), host.named_children(), strict=True):
        assert isinstance(linear, nn.Linear), name
        if isinstance(own, Int8Linear):
            linear.weight.data = own.weight * own.scale
        else:
            linear.weight.data = linear.weight + 1
    features._say_whole.cache_clear()
    with pytest.warns(UserWarning, match=f"{kind.__name__} is not torch.nn.Linear"):
        got = host(iter(states), mask)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once
        host(iter(states), mask)
        want = plain(iter(states), mask)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_a_patched_forward_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    network = projection(nn.Linear, SharedProjection)
    assert isinstance(network, SharedProjection)
    calls: list[torch.Size] = []

    def forward(x: Tensor) -> Tensor:
        calls.append(x.shape)
        return x.new_zeros(*x.shape[:-1], 8)

    monkeypatch.setattr(network.aggregate_embed, "forward", forward)
    features._say_whole.cache_clear()
    with pytest.warns(UserWarning, match="torch.nn.Linear"):
        network(iter(torch.randn(9, 1, 5, 6)), torch.ones(1, 5, dtype=torch.int64))
    assert calls == [(1, 5, 54)]
