"""Gemma 4 beyond the golden vectors: the published structure, configuration, properties."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from openltx.model_loaders.assemble import build_on_meta
from openltx.model_loaders.gemma_config import gemma4_config
from openltx.networks.text.gemma4 import Gemma4
from openltx.networks.text.gemma_config import GemmaConfig, LayerConfig
from openltx.networks.text.rope import decoder_tables

ROOT = Path(__file__).resolve().parents[1]
MANIFESTS = ROOT.parent / "shared" / "manifests"
needs_manifests = pytest.mark.skipif(
    not MANIFESTS.is_dir(), reason=f"NOT TESTED: published names and shapes; no manifests at {MANIFESTS}"
)
CONFIG: dict[str, Any] = {
    "attention_k_eq_v": True,
    "final_logit_softcapping": 30.0,
    "global_head_dim": 16,
    "head_dim": 8,
    "hidden_size": 24,
    "intermediate_size": 48,
    "layer_types": ["sliding_attention", "full_attention"],
    "num_attention_heads": 4,
    "num_global_key_value_heads": 1,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rope_parameters": {
        "full_attention": {"partial_rotary_factor": 0.25, "rope_theta": 1e6, "rope_type": "proportional"},
        "sliding_attention": {"rope_theta": 1e4, "rope_type": "default"},
    },
    "sliding_window": 4,
    "vocab_size": 50,
}


@needs_manifests
def test_gemma4_12b_has_the_published_tensors() -> None:
    published = json.loads((MANIFESTS / "gemma4-12b-ltx.json").read_text())
    config = gemma4_config(published["config_text"])
    network = build_on_meta(lambda: Gemma4(config))
    found = {f"model.{name}": tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    text = {name: tuple(shape) for name, (shape, _) in published["tensors"].items() if name.startswith("model.")}
    assert found == text
    assert len(found) == 666
    assert [i for i, layer in enumerate(config.layers) if layer.window is None] == [5, 11, 17, 23, 29, 35, 41, 47]
    assert config.layers[5].rotated_pairs == 64
    assert config.num_states == 49


def test_configuration_of_both_kinds_of_layers() -> None:
    config = gemma4_config({"model_type": "gemma4_unified", "text_config": CONFIG})
    common: dict[str, Any] = {"num_heads": 4, "scale": 1.0}
    assert config.layers == (
        LayerConfig(**common, num_kv_heads=2, head_dim=8, window=4, rope_theta=1e4),
        LayerConfig(
            **common,
            num_kv_heads=1,
            head_dim=16,
            window=None,
            rope_theta=1e6,
            rotated_pairs=2,
            values_are_keys=True,
        ),
    )
    assert config.logit_cap == 30


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"hidden_size_per_layer_input": 256}, "hidden_size_per_layer_input"),
        ({"num_kv_shared_layers": 20}, "num_kv_shared_layers"),
        ({"enable_moe_block": True}, "enable_moe_block"),
        ({"use_double_wide_mlp": True}, "use_double_wide_mlp"),
        ({"use_bidirectional_attention": "all"}, "'all'"),
        ({"hidden_activation": "silu"}, "silu"),
        ({"layer_types": ["full_attention"]}, "expected 2 layer_types"),
        ({"layer_types": None}, "layer_types is missing"),
        ({"global_head_dim": None}, "global_head_dim is missing"),
        ({"num_global_key_value_heads": None}, "num_global_key_value_heads is missing"),
        ({"rope_parameters": {**CONFIG["rope_parameters"], "full_attention": {"rope_theta": 1e6}}}, "'proportional'"),
    ],
)
def test_unsupported_values_are_refused_by_name(change: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word) as caught:
        gemma4_config({**CONFIG, **change})
    assert "\n" not in str(caught.value)


def test_frequencies_beyond_the_rotated_pairs_are_zero() -> None:
    positions = torch.arange(5)
    cos, sin = decoder_tables(positions, 16, theta=1e6, rotated_pairs=2)
    whole_cos, whole_sin = decoder_tables(positions, 16, theta=1e6)
    assert torch.equal(cos[:, :2], whole_cos[:, :2])
    assert torch.equal(sin[:, :2], whole_sin[:, :2])
    assert (cos[:, 2:] == 1).all()
    assert (sin[:, 2:] == 0).all()


def tiny_decoder(config: GemmaConfig | None = None) -> Gemma4:
    decoder = Gemma4(config or gemma4_config(CONFIG))
    generator = torch.Generator().manual_seed(0)
    for parameter in decoder.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    return decoder.requires_grad_(False)


def test_padding_does_not_change_valid_tokens() -> None:
    decoder = tiny_decoder()
    ids = torch.randint(50, (1, 9), generator=torch.Generator().manual_seed(1))
    padded = torch.cat((torch.zeros(1, 5, dtype=torch.int64), ids), dim=1)
    mask = torch.cat((torch.zeros(1, 5, dtype=torch.int64), torch.ones_like(ids)), dim=1)
    for alone, row in zip(decoder.hidden_states(ids), decoder.hidden_states(padded, mask), strict=True):
        assert row.isfinite().all()
        torch.testing.assert_close(row[:, 5:], alone, rtol=1e-4, atol=1e-4)


def test_cached_decoding_gives_the_states_of_one_pass() -> None:
    decoder = tiny_decoder()
    ids = torch.randint(50, (1, 12), generator=torch.Generator().manual_seed(2))
    *_, whole = decoder.hidden_states(ids)
    cache, parts = decoder.new_cache(), []
    for part in (ids[:, :5], ids[:, 5:6], ids[:, 6:]):
        *_, last = decoder.hidden_states(part, cache=cache)
        parts.append(last)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, rtol=1e-4, atol=1e-5)


def test_logits_are_float32_and_capped() -> None:
    decoder = tiny_decoder().to(torch.bfloat16)
    logits = decoder.logits(torch.full((1, 24), 1000.0, dtype=torch.bfloat16))
    assert logits.dtype is torch.float32
    assert logits.shape == (1, 50)
    assert 29 < logits.abs().max() <= 30
