"""Names, shapes and parameter counts of the published transformers, on the meta device."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from openltx.model_loaders.assemble import build_on_meta
from openltx.model_loaders.checkpoint import Checkpoint, TensorEntry
from openltx.model_loaders.transformer import generation_of_transformer, transformer_config, transformer_tensors
from openltx.networks.transformer import Transformer

ROOT = Path(__file__).resolve().parents[1]
MANIFESTS = ROOT.parent / "shared" / "manifests"
PREFIX = "model.diffusion_model."
FILES = {"2": "ltx-2-19b", "2.3": "ltx-2.3-22b", "2.5": "ltx-2.5-22b"}
PARAMETERS = {"2": 18_876_174_592, "2.3": 18_988_838_144, "2.5": 18_987_859_200}
BLOCK_PARAMETERS = {"2": 386_074_624, "2.3": 386_695_360, "2.5": 386_674_880}
VIDEO_ONLY = {"2": (13_041_520_768, 1215), "2.3": (13_124_316_288, 1457), "2.5": (13_123_337_344, 1362)}
AUDIO_ONLY = {"2": (3_265_980_544, 1215), "2.3": (3_286_408_320, 1457), "2.5": (3_286_408_320, 1457)}
GENERATIONS = pytest.mark.parametrize("generation", ["2", "2.3", "2.5"])


def manifest(generation: str) -> dict[str, Any]:
    path = MANIFESTS / f"transformer-{FILES[generation]}.json"
    if not path.is_file():
        pytest.skip(f"NOT CHECKED: names and shapes of generation {generation}; the manifest {path} is not here")
    data: dict[str, Any] = json.loads(path.read_text())
    return data


def published(generation: str, *, with_config: bool = True, only: Callable[[str], bool] | None = None) -> Checkpoint:
    """The header of the published file; `only` keeps some names."""
    data = manifest(generation)
    entries = {
        name: TensorEntry(dtype=dtype, shape=tuple(shape), start=0, end=0)
        for name, (shape, dtype) in data["tensors"].items()
        if only is None or only(name.removeprefix(PREFIX))
    }
    entries[PREFIX + "video_embeddings_connector.learnable_registers"] = TensorEntry(
        dtype="BF16", shape=(128, 4096), start=0, end=0
    )
    metadata = {"config": json.dumps({"transformer": data["config_transformer"]})} if with_config else {}
    return Checkpoint(path=Path("published.safetensors"), metadata=metadata, entries=entries)


def meta_network(checkpoint: Checkpoint) -> Transformer:
    config = transformer_config(checkpoint)
    return build_on_meta(lambda: Transformer(config))


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def shapes_of(checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    return {name: checkpoint.shapes[key] for name, key in transformer_tensors(checkpoint).items()}


@GENERATIONS
def test_names_shapes_and_counts_are_the_published_ones(generation: str) -> None:
    checkpoint = published(generation)
    network = meta_network(checkpoint)
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == shapes_of(checkpoint)
    assert parameters(network) == PARAMETERS[generation] == manifest(generation)["num_parameters"]
    assert parameters(network.transformer_blocks[0]) == BLOCK_PARAMETERS[generation]
    assert generation_of_transformer(checkpoint) == generation


@GENERATIONS
def test_the_configuration_follows_from_the_tensors_when_metadata_is_missing(generation: str) -> None:
    assert transformer_config(published(generation, with_config=False)) == transformer_config(published(generation))


@GENERATIONS
def test_a_video_only_file_has_its_structure(generation: str) -> None:
    checkpoint = published(generation, only=lambda name: "audio" not in name and not without_cross(name))
    network = meta_network(checkpoint)
    assert (parameters(network), len(network.state_dict())) == VIDEO_ONLY[generation]
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == shapes_of(checkpoint)
    assert generation_of_transformer(checkpoint) == generation


@GENERATIONS
def test_an_audio_only_file_has_its_structure(generation: str) -> None:
    checkpoint = published(generation, only=lambda name: "audio" in name and not without_cross(name))
    network = meta_network(checkpoint)
    assert (parameters(network), len(network.state_dict())) == AUDIO_ONLY[generation]
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == shapes_of(checkpoint)


def without_cross(name: str) -> bool:
    """Whether a tensor belongs to the exchange between the streams."""
    parts = ("av_ca_", "a2v_ca_", "audio_to_video_attn", "video_to_audio_attn")
    return any(part in name for part in parts)


def test_audio_only_files_tell_their_generation_by_version() -> None:
    checkpoint = published("2.5", only=lambda name: "audio" in name and not without_cross(name))
    assert generation_of_transformer(checkpoint) == "2.3"
    newer = replace(checkpoint, metadata={**checkpoint.metadata, "model_version": "2.5.0"})
    assert generation_of_transformer(newer) == "2.5"
