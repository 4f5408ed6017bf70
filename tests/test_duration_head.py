"""Duration head: the published structure, what is refused, properties."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from openltx.model_loaders.assemble import build_on_meta
from openltx.model_loaders.checkpoint import CheckpointError, open_checkpoint
from openltx.model_loaders.duration_head import duration_head_config, load_duration_head
from openltx.networks.text.duration import DurationHead, DurationHeadConfig

ROOT = Path(__file__).resolve().parents[1]
MANIFESTS = ROOT.parent / "shared" / "manifests"
needs_manifests = pytest.mark.skipif(
    not MANIFESTS.is_dir(), reason=f"NOT TESTED: published names and shapes; no manifests at {MANIFESTS}"
)
TINY = DurationHeadConfig(video_width=8, audio_width=6, hidden_size=16, mlp_size=12, num_queries=2, num_heads=4)


def head() -> DurationHead:
    network = DurationHead(TINY)
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    return network.requires_grad_(False)


def shapes() -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in head().state_dict().items()}


@needs_manifests
def test_published_tensors() -> None:
    published = json.loads((MANIFESTS / "duration_head-ltx-2.5-22b.json").read_text())
    expected = {
        name.removeprefix(published["prefix"]): tuple(shape) for name, (shape, _) in published["tensors"].items()
    }
    config = duration_head_config({}, expected)
    assert config.num_heads == 4
    network = build_on_meta(lambda: DurationHead(config))
    assert {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()} == expected


def test_sizes_come_from_the_tensors_and_heads_from_the_configuration() -> None:
    assert duration_head_config({}, shapes()) == TINY
    assert duration_head_config({"num_pooler_heads": 8, "mlp_hidden": 12}, shapes()).num_heads == 8


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"num_pooler_heads": 3}, "divide 16, found 3"),
        ({"num_pooler_heads": 0}, "found 0"),
        ({"num_queries": 1}, "expected num_queries 2 as in its tensors, found 1"),
        ({"pooler_hidden_dim": 256}, "pooler_hidden_dim"),
    ],
)
def test_contradictions_are_refused(config: dict[str, Any], word: str) -> None:
    with pytest.raises(CheckpointError, match=word):
        duration_head_config(config, shapes())


def test_file_without_a_duration_head_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="expected a duration head"):
        load_duration_head(open_checkpoint(path))
    save_file({"duration_head.attention_pooler.query_tokens": torch.zeros(1, 16)}, path)
    with pytest.raises(CheckpointError, match="video_input_proj.weight"):
        load_duration_head(open_checkpoint(path))


def test_file_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    save_file({f"duration_head.{name}": tensor for name, tensor in head().state_dict().items()}, path)
    video = torch.randn(1, 5, 8)
    torch.testing.assert_close(load_duration_head(open_checkpoint(path))(video, None), head()(video, None))


def test_rows_are_independent_and_the_order_of_tokens_does_not_matter() -> None:
    video, audio = torch.randn(2, 5, 8), torch.randn(2, 7, 6)
    both = head()(video, audio)
    torch.testing.assert_close(head()(video[1:].flip(1), audio[1:].flip(1)), both[1:], rtol=1e-5, atol=1e-6)
    assert (both > 0).all()


def test_a_context_is_needed() -> None:
    with pytest.raises(ValueError, match="found none"):
        head()(None, None)


def test_result_is_float32_in_lower_precision() -> None:
    network = head().to(torch.bfloat16)
    assert network(torch.randn(1, 5, 8, dtype=torch.bfloat16), None).dtype is torch.float32
