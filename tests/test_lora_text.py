"""LoRAs of text encoders: spellings, Gemma, projection and connectors, quantised layers, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from openltx.model_loaders.lora.keys import match
from openltx.model_loaders.lora.text import text_spellings, with_text_lora
from openltx.model_loaders.parts import TextPart, open_parts
from openltx.nodes.lora import LoadTextLora

TINY = Path(__file__).resolve().parents[1] / "assets" / "openltx-tiny-2.3.safetensors"
CPU = torch.device("cpu")
LAYER = "layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def text() -> TextPart:
    return open_parts(TINY, dtype=torch.float32).text


def shape_of(text: TextPart, layer: str) -> tuple[int, int]:
    encoder = text.encoder.on(CPU)
    part, _, name = layer.partition(".")
    owners: dict[str, Any] = {
        "text_encoder": encoder.decoder,
        "text_embedding_projection": encoder.projection,
        "video_embeddings_connector": encoder.video_connector,
        "audio_embeddings_connector": encoder.audio_connector,
    }
    rows, columns = owners[part].get_submodule(name).weight.shape
    return int(rows), int(columns)


def lora_file(folder: Path, text: TextPart, layers: dict[str, str], name: str = "lora.safetensors") -> Path:
    """{spelling in the file: layer}"""
    generator, tensors = torch.Generator().manual_seed(0), dict[str, Tensor]()
    for spelling, layer in layers.items():
        rows, columns = shape_of(text, layer)
        tensors[f"{spelling}.lora_A.weight"] = torch.randn(2, columns, generator=generator)
        tensors[f"{spelling}.lora_B.weight"] = torch.randn(rows, 2, generator=generator)
    save_file(tensors, folder / name)
    return folder / name


def contexts(text: TextPart) -> tuple[Tensor, Tensor]:
    encoded = text.encoder.on(CPU).encode("a red ball")
    return encoded.video_context, encoded.audio_context


@pytest.mark.parametrize(
    "spelling",
    [
        "text_encoders.gemma3_12b.transformer.model.layers.0.self_attn.q_proj",
        "text_encoders.model.layers.0.self_attn.q_proj",
        "base_model.model.model.layers.0.self_attn.q_proj",
        "base_model.model.language_model.model.layers.0.self_attn.q_proj",
        "model.language_model.layers.0.self_attn.q_proj",
        "lora_te_model_layers_0_self_attn_q_proj",
        "lora_te1_layers_0_self_attn_q_proj",
        LAYER,
    ],
)
def test_spellings_lead_to_a_layer_of_gemma(spelling: str) -> None:
    found = match([f"{spelling}.lora_A.weight"], [f"text_encoder.{LAYER}.weight"], spell=text_spellings)
    assert found.layers == {f"text_encoder.{LAYER}": {"down": f"{spelling}.lora_A.weight"}}


@pytest.mark.parametrize(
    ("spelling", "layer"),
    [
        ("diffusion_model.video_embeddings_connector.transformer_1d_blocks.0.attn1.to_q", "video_embeddings_connector"),
        ("text_embedding_projection.audio_embeddings_connector.transformer_1d_blocks.0.ff.net.2", "audio_embeddings"),
        ("text_embedding_projection.video_aggregate_embed", "text_embedding_projection.video_aggregate_embed"),
    ],
)
def test_spellings_lead_to_connectors_and_projection(text: TextPart, spelling: str, layer: str) -> None:
    found = match([f"{spelling}.lora_A.weight"], text.layers, spell=text_spellings)
    (name,) = found.layers
    assert name.startswith(layer)
    assert spelling.endswith(name)


@pytest.mark.parametrize(
    "layer",
    [
        f"text_encoder.{LAYER}",
        "text_embedding_projection.video_aggregate_embed",
        "video_embeddings_connector.transformer_1d_blocks.0.attn1.to_q",
    ],
)
def test_a_lora_is_the_merged_weight_and_leaves_the_encoder_alone(text: TextPart, layer: str, tmp_path: Path) -> None:
    path = lora_file(tmp_path, text, {layer: layer})
    before = contexts(text)
    adapted, report = with_text_lora(text, path, 0.5)
    assert (report.applied, report.ignored) == (1, {})
    changed = contexts(adapted)
    assert not torch.equal(changed[0], before[0])
    assert all(map(torch.equal, contexts(text), before))  # the remembered contexts are not mixed up

    by_hand = text.encoder.source()
    part, _, name = layer.partition(".")
    owner: Any = {"text_encoder": by_hand.decoder, "text_embedding_projection": by_hand.projection}.get(
        part, by_hand.video_connector
    )
    module, lora = owner.get_submodule(name), tensors_of(path, layer)
    merged = module.weight.data.float() + 0.5 * lora[1] @ lora[0]
    module.weight.data = merged.to(module.weight.dtype)
    by_hand.to(CPU, torch.float32)
    expected = by_hand.encode_ids(by_hand.tokenize("a red ball"))
    torch.testing.assert_close(changed[0], expected.video_context, rtol=1e-5, atol=1e-5)


def tensors_of(path: Path, layer: str) -> tuple[Tensor, Tensor]:
    from safetensors.torch import load_file

    tensors = load_file(path)
    return tensors[f"{layer}.lora_A.weight"], tensors[f"{layer}.lora_B.weight"]


def test_several_add_up_and_a_negative_one_takes_back(text: TextPart, tmp_path: Path) -> None:
    path = lora_file(tmp_path, text, {LAYER: f"text_encoder.{LAYER}"})
    once, _ = with_text_lora(text, path, 1.0)
    back, _ = with_text_lora(once, path, -1.0)
    assert [len(part.loras) for part in (text, once, back)] == [0, 1, 2]
    torch.testing.assert_close(contexts(back)[0], contexts(text)[0], rtol=1e-3, atol=1e-3)


def test_what_has_no_layer_of_a_text_encoder_is_refused(text: TextPart, tmp_path: Path) -> None:
    key = "diffusion_model.transformer_blocks.0.attn1.to_q"
    tensors = {f"{key}.lora_A.weight": torch.zeros(2, 4), f"{key}.lora_B.weight": torch.zeros(4, 2)}
    save_file(tensors, tmp_path / "lora.safetensors")
    with pytest.raises(ValueError, match=".") as caught:
        with_text_lora(text, tmp_path / "lora.safetensors", 1.0)
    assert str(caught.value) == (
        f"{tmp_path}/lora.safetensors: expected keys of this text encoder, found none among 2 ({key}.lora_A.weight, "
        f"{key}.lora_B.weight); use a LoRA that was made for this model"
    )


def test_the_node_reports_what_is_left_to_the_transformer(text: TextPart, tmp_path: Path) -> None:
    own = lora_file(tmp_path, text, {LAYER: f"text_encoder.{LAYER}"}, "own.safetensors")
    key = "diffusion_model.transformer_blocks.0.attn1.to_q"
    a, b = tensors_of(own, LAYER)
    tensors = {f"{LAYER}.lora_A.weight": a, f"{LAYER}.lora_B.weight": b, f"{key}.lora_A.weight": torch.zeros(2, 4)}
    save_file(tensors, tmp_path / "both.safetensors")
    adapted, report = LoadTextLora.execute(text, str(tmp_path / "both.safetensors"), 1.0).args
    assert "rank 2, 1 layers applied, keys ignored: 1 of transformer" in report
    assert len(adapted.loras) == 1
