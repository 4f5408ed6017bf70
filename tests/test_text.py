"""Text conditioning beyond the golden vectors: published structures, configuration, properties."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn

from openltx.model_loaders.assemble import build_on_meta
from openltx.model_loaders.checkpoint import Checkpoint, TensorEntry
from openltx.model_loaders.gemma_config import GEMMA3_12B, gemma3_config
from openltx.model_loaders.generations import version_numbers
from openltx.model_loaders.text_projection import (
    connector_config,
    find_connector,
    find_projection,
    generation,
    projection_config,
)
from openltx.networks.text.connector import Connector, ConnectorConfig, fill_with_registers
from openltx.networks.text.features import (
    STATES_PER_PRODUCT,
    ProjectionConfig,
    SeparateProjection,
    SharedProjection,
    project_states,
)
from openltx.networks.text.gemma3 import Gemma3
from openltx.networks.text.gemma_config import GemmaConfig, LayerConfig

ROOT = Path(__file__).resolve().parents[1]
MANIFESTS = ROOT.parent / "shared" / "manifests"
needs_manifests = pytest.mark.skipif(
    not MANIFESTS.is_dir(), reason=f"NOT TESTED: published names and shapes; no manifests at {MANIFESTS}"
)


def manifest(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((MANIFESTS / f"{name}.json").read_text())
    return loaded


def header(shapes: dict[str, tuple[int, ...]], config: dict[str, Any] | None = None, **metadata: str) -> Checkpoint:
    """A checkpoint of which only the header exists."""
    entries = {name: TensorEntry(dtype="BF16", shape=shape, start=0, end=0) for name, shape in shapes.items()}
    if config is not None:
        metadata["config"] = json.dumps({"transformer": config})
    return Checkpoint(path=Path("ltx.safetensors"), metadata=metadata, entries=entries)


def shapes_of(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


# published structures


@needs_manifests
def test_gemma3_12b_has_the_published_tensors() -> None:
    published = manifest("gemma3-12b-text")
    config = gemma3_config(published["config_text"])
    network = build_on_meta(lambda: Gemma3(config))
    expected = {
        name.removeprefix(published["prefix"]): tuple(shape) for name, (shape, _) in published["tensors"].items()
    }
    assert shapes_of(network) == expected
    assert config == gemma3_config(GEMMA3_12B)
    assert [i for i, layer in enumerate(config.layers) if layer.window is None] == [5, 11, 17, 23, 29, 35, 41, 47]


@needs_manifests
@pytest.mark.parametrize("name", ["2-19b", "2.3-22b", "2.5-22b"])
@pytest.mark.parametrize("with_config", [True, False])
@pytest.mark.parametrize("prefix", ["model.diffusion_model.", ""])
def test_projection_and_connectors_have_the_published_tensors(name: str, with_config: bool, prefix: str) -> None:
    published = manifest(f"text_projection-ltx-{name}")
    config = published["config_keys_used"] if with_config else {}
    shapes = {
        key.replace("model.diffusion_model.", prefix): tuple(shape) for key, (shape, _) in published["tensors"].items()
    }
    file = header(shapes, config)
    found: dict[str, tuple[int, ...]] = {}
    for modality in ("video", "audio"):
        part = find_connector([file], modality)
        connector_conf = connector_config(config, part.shapes, modality)
        connector = build_on_meta(lambda conf=connector_conf: Connector(conf))  # type: ignore[misc]
        found.update({part.tensors[key]: shape for key, shape in shapes_of(connector).items()})
    part = find_projection([file])
    conf = projection_config(part.shapes, hidden_size=3840, num_states=49)
    kind = SharedProjection if conf.audio_features is None else SeparateProjection
    found.update({part.tensors[key]: shape for key, shape in shapes_of(build_on_meta(lambda: kind(conf))).items()})
    assert found == shapes


@needs_manifests
@pytest.mark.parametrize("name", ["2-19b", "2.3-22b", "2.5-22b"])
def test_connector_configuration_from_shapes_equals_that_from_metadata(name: str) -> None:
    published = manifest(f"text_projection-ltx-{name}")
    file = header({key: tuple(shape) for key, (shape, _) in published["tensors"].items()})
    for modality in ("video", "audio"):
        shapes = find_connector([file], modality).shapes
        expected = connector_config(published["config_keys_used"], shapes, modality)
        assert connector_config({}, shapes, modality) == expected


def test_generations_are_told_apart() -> None:
    shared, separate = "text_embedding_projection.aggregate_embed.weight", "video_aggregate_embed.weight"
    cases = {
        "2": header({shared: (8, 8)}),
        "2.3": header({separate: (8, 8)}, model_version="2.3.rc1"),
        "2.5": header({separate: (8, 8)}, model_version="2.5.0"),
    }
    for name, file in cases.items():
        assert generation(file, [file]) == name
    assert version_numbers(cases["2.3"].metadata) == (2, 3)


# configuration


def test_newer_gemma_configuration_style_means_the_same() -> None:
    older = gemma3_config(GEMMA3_12B)
    newer = {key: value for key, value in GEMMA3_12B.items() if key != "rope_scaling"}
    newer["layer_types"] = ["full_attention" if layer.window is None else "sliding_attention" for layer in older.layers]
    newer["rope_parameters"] = {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    assert gemma3_config({"text_config": newer}) == older


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"hidden_activation": "silu"}, "silu"),
        ({"final_logit_softcapping": 30.0}, "final_logit_softcapping"),
        ({"attention_bias": True}, "attention_bias"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4}}, "yarn"),
        ({"layer_types": ["full_attention"]}, "48 layer_types"),
        ({"layer_types": ["chunked"] * 48}, "chunked"),
        ({"num_key_value_heads": None}, "num_key_value_heads is missing"),
    ],
)
def test_unsupported_gemma_values_are_refused_by_name(change: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        gemma3_config({**GEMMA3_12B, **change})


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"rope_type": "interleaved"}, "interleaved"),
        ({"frequencies_precision": "float32"}, "float32"),
        ({"connector_norm_output": False}, "connector_norm_output"),
    ],
)
def test_unsupported_connector_values_are_refused_by_name(config: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        connector_config(config, {"learnable_registers": (128, 64)}, "video")


def test_ungated_connector_of_unknown_width_needs_its_configuration() -> None:
    with pytest.raises(ValueError, match="no configuration, and 64"):
        connector_config({}, {"learnable_registers": (128, 64)}, "video")


# properties of the networks


Network = TypeVar("Network", bound=nn.Module)


def tiny_gemma(window: int = 4) -> Gemma3:
    layer = dict(num_heads=4, num_kv_heads=2, head_dim=8, scale=0.3)
    sliding = LayerConfig(**layer, window=window, rope_theta=1e4)  # type: ignore[arg-type]
    full = LayerConfig(**layer, window=None, rope_theta=1e6, rope_factor=8.0)  # type: ignore[arg-type]
    config = GemmaConfig(
        vocab_size=50, hidden_size=24, intermediate_size=48, rms_norm_eps=1e-6, layers=(sliding, full, sliding, full)
    )
    return randomise(Gemma3(config))


def randomise(network: Network) -> Network:
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
    return network.requires_grad_(False)


def test_padding_does_not_change_valid_tokens() -> None:
    decoder = tiny_gemma()
    ids = torch.randint(50, (1, 9), generator=torch.Generator().manual_seed(1))
    padded = torch.cat((torch.zeros(1, 5, dtype=torch.int64), ids), dim=1)
    mask = torch.cat((torch.zeros(1, 5, dtype=torch.int64), torch.ones_like(ids)), dim=1)
    for alone, row in zip(decoder.hidden_states(ids), decoder.hidden_states(padded, mask), strict=True):
        assert row.isfinite().all()
        torch.testing.assert_close(row[:, 5:], alone, rtol=1e-4, atol=1e-4)


def test_cached_decoding_gives_the_states_of_one_pass() -> None:
    decoder = tiny_gemma()
    ids = torch.randint(50, (1, 12), generator=torch.Generator().manual_seed(2))
    *_, whole = decoder.hidden_states(ids)
    cache, parts = decoder.new_cache(), []
    for part in (ids[:, :5], ids[:, 5:6], ids[:, 6:]):
        *_, last = decoder.hidden_states(part, cache=cache)
        parts.append(last)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("num_states", [1, STATES_PER_PRODUCT, 2 * STATES_PER_PRODUCT + 3])
def test_streamed_projection_equals_one_linear_of_the_flattened_states(num_states: int) -> None:
    states = torch.randn(num_states, 2, 5, 6, generator=torch.Generator().manual_seed(3))
    linear = randomise(nn.Linear(6 * num_states, 10))
    (got,) = project_states(iter(states), [linear], num_states)
    flat = states.permute(1, 2, 3, 0).flatten(2)  # the state is the fast index
    torch.testing.assert_close(got, linear(flat), rtol=1e-4, atol=1e-5)


def test_hidden_states_are_never_all_held() -> None:
    config = ProjectionConfig(hidden_size=6, num_states=49, video_features=4, audio_features=3)
    projection = randomise(SeparateProjection(config))
    alive: list[weakref.ref[Tensor]] = []
    most = 0

    def stream() -> Iterator[Tensor]:
        nonlocal most
        for _ in range(49):
            x = torch.randn(1, 5, 6)
            alive.append(weakref.ref(x))
            most = max(most, sum(reference() is not None for reference in alive))
            yield x

    projection(stream(), torch.ones(1, 5, dtype=torch.int64))
    assert most <= STATES_PER_PRODUCT + 1


def test_registers_follow_the_valid_tokens_by_absolute_position() -> None:
    features = torch.arange(6.0)[None, :, None].expand(1, 6, 2)
    registers = 100 + torch.arange(4.0)[:, None].expand(4, 2)
    x = fill_with_registers(features, torch.tensor([[0, 1, 0, 1, 1, 0]]), registers, 8)
    assert x[0, :, 0].tolist() == [1, 3, 4, 103, 100, 101, 102, 103]


@pytest.mark.parametrize("length", [6, 4])
def test_impossible_context_lengths_are_refused(length: int) -> None:
    config = ConnectorConfig(num_layers=1, num_heads=2, head_dim=4, num_registers=4, gated=False)
    with pytest.raises(ValueError, match=f"found {length}"):
        Connector(config)(torch.zeros(1, 5, 8), torch.ones(1, 5), length=length)
