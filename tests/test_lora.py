"""LoRA: matching names, strengths by part and block, merging without a second rounding, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from openltx.model_loaders.assemble import build_on_meta
from openltx.model_loaders.checkpoint import CheckpointError
from openltx.model_loaders.lora.adapters import LowRank, adapted_weight, concatenated, low_rank
from openltx.model_loaders.lora.file import open_lora
from openltx.model_loaders.lora.fuse import fused
from openltx.model_loaders.lora.keys import match, spellings
from openltx.model_loaders.lora.network import LoraUse, apply_loras
from openltx.model_loaders.lora.strengths import LoraStrengths, class_of, parse_block_ranges
from openltx.model_loaders.parts import open_model
from openltx.model_loaders.published import PUBLISHED, published_model
from openltx.model_loaders.quantisation.layer import QuantisedLayer
from openltx.nodes.lora import LoadLora

ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / "assets" / "openltx-tiny-2.3.safetensors"
CPU = torch.device("cpu")
LAYER = "transformer_blocks.0.attn1.to_q"


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 3)
        self.audio_a = nn.Linear(4, 3)
        self.table = nn.Parameter(torch.zeros(2, 3))


def lora_file(path: Path, tensors: dict[str, Tensor], **metadata: str) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata or None)
    return path


def pair(layer: str, rows: int = 3, columns: int = 4, rank: int = 2, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        f"{layer}.lora_A.weight": torch.randn(rank, columns, generator=generator),
        f"{layer}.lora_B.weight": torch.randn(rows, rank, generator=generator),
    }


def use(path: Path, network: nn.Module, **strengths: Any) -> LoraUse:
    lora = open_lora(path)
    return LoraUse(lora=lora, matched=lora.match(network.state_dict()), strengths=LoraStrengths(**strengths))


@pytest.mark.parametrize("name", PUBLISHED)
def test_no_two_layers_of_a_published_model_share_a_spelling(name: str) -> None:
    names = build_on_meta(published_model(name).networks["transformer"]).state_dict()
    layers = {key.removesuffix(".weight").removesuffix(".bias") for key in names}
    seen: dict[str, str] = {}
    for layer in layers:
        for spelling in spellings(layer):
            assert seen.setdefault(spelling, layer) == layer
    for spelling in ("lora_unet_transformer_blocks_47_audio_to_video_attn_to_out_0", f"transformer.{LAYER}", LAYER):
        assert spelling in seen


@pytest.mark.parametrize(
    "spelling",
    [
        f"diffusion_model.{LAYER}",
        f"model.diffusion_model.{LAYER}",
        f"base_model.model.{LAYER}",
        "lora_unet_transformer_blocks_0_attn1_to_q",
        "lycoris_transformer_blocks_0_attn1_to_q",
    ],
)
def test_spellings_lead_to_the_layer(spelling: str) -> None:
    found = match([f"{spelling}.lora_down.weight", f"{spelling}.alpha"], [f"{LAYER}.weight", f"{LAYER}.bias"])
    assert found.layers == {LAYER: {"down": f"{spelling}.lora_down.weight", "alpha": f"{spelling}.alpha"}}
    assert found.ignored == ()


def test_what_is_ignored_is_grouped_by_what_it_was_meant_for() -> None:
    names = [
        "diffusion_model.video_embeddings_connector.transformer_1d_blocks.0.attn1.to_q.lora_A.weight",
        "text_encoders.model.layers.0.mlp.up_proj.lora_A.weight",
        "diffusion_model.transformer_blocks.99.attn1.to_q.lora_A.weight",
    ]
    found = match([*names, f"{LAYER}.lora_A.weight"], [f"{LAYER}.weight"])
    assert found.ignored_by_component == {"text connectors": 1, "text encoder": 1, "transformer": 1}


def test_half_understood_adapters_are_refused(tmp_path: Path) -> None:
    path = lora_file(tmp_path / "l.safetensors", pair("a") | {"a.lora_magnitude_vector.weight": torch.ones(3)})
    with pytest.raises(
        CheckpointError, match=r"l\.safetensors: a\.lora_magnitude_vector\.weight: adapters with lora_ma"
    ):
        open_lora(path).match(["a.weight"])


def test_several_merge_with_one_rounding_and_the_bias_follows(tmp_path: Path) -> None:
    network = Net().to(torch.bfloat16).requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    first = lora_file(tmp_path / "1.safetensors", pair("a") | {"a.diff_b": torch.ones(3)})
    second = lora_file(tmp_path / "2.safetensors", pair("a", seed=1, rank=1) | {"table.diff": torch.ones(2, 3)})
    apply_loras(network, [use(first, network, video=0.5), use(second, network, video=-1.0)])
    a, b = pair("a"), pair("a", seed=1, rank=1)
    exact = before["a.weight"].float() + 0.5 * a["a.lora_B.weight"] @ a["a.lora_A.weight"]
    exact -= b["a.lora_B.weight"] @ b["a.lora_A.weight"]
    assert torch.equal(network.a.weight, exact.to(torch.bfloat16))
    assert torch.equal(network.a.bias, (before["a.bias"].float() + 0.5).to(torch.bfloat16))
    assert torch.equal(network.table, torch.full((2, 3), -1.0, dtype=torch.bfloat16))
    assert torch.equal(network.audio_a.weight, before["audio_a.weight"])


def test_a_part_with_strength_zero_is_left_alone(tmp_path: Path) -> None:
    network = Net().requires_grad_(False)
    before = network.audio_a.weight
    path = lora_file(tmp_path / "l.safetensors", pair("a") | pair("audio_a"))
    apply_loras(network, [use(path, network, audio=0.0)])
    assert network.audio_a.weight is before


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        (pair("a", rows=5), r"a: expected an update of shape \(3, 4\), found \(5, 4\); the LoRA was made for another"),
        ({"a.lora_A.weight": torch.ones(2, 4)}, "a: expected up, down, found no up; download the LoRA again"),
        ({"a.lora_A.weight": torch.ones(2, 4), "a.lokr_w1": torch.ones(1, 1)}, "expected up, down, found no up"),
        (
            pair("a", rows=6) | {"a.reshape_weight": torch.tensor([6, 4])},
            r"a: expected an update that keeps the shape \(3, 4\), found one that makes it \(6, 4\)",
        ),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, tensors: dict[str, Tensor], words: str) -> None:
    network = Net().requires_grad_(False)
    path = lora_file(tmp_path / "l.safetensors", tensors)
    with pytest.raises(ValueError, match=words) as caught:
        apply_loras(network, [use(path, network)])
    assert "\n" not in str(caught.value)


def test_strengths_by_part_and_block() -> None:
    strengths = LoraStrengths(video=2, audio=3, audio_to_video=5, video_to_audio=7, blocks=((0, 9, 0.5), (9, 9, 0.0)))
    block = "transformer_blocks.{}.{}"
    assert strengths.of(block.format(20, "attn1.to_q")) == 2
    assert strengths.of(block.format(3, "audio_ff.net.2")) == 1.5
    assert strengths.of(block.format(12, "audio_to_video_attn.to_k")) == 5
    assert strengths.of(block.format(9, "video_to_audio_attn.to_k")) == 0
    assert strengths.of("patchify_proj") == 2
    assert strengths.scaled(0.5).of("audio_patchify_proj") == 1.5
    assert class_of("av_ca_a2v_gate_adaln_single.linear") == "audio_to_video"
    assert class_of("av_ca_audio_scale_shift_adaln_single.linear") == "audio"
    with pytest.raises(ValueError, match="expected finite numbers"):
        LoraStrengths(video=float("nan"))


def test_block_ranges_are_read_or_named() -> None:
    assert parse_block_ranges("0-9=0.5, 47=-1") == ((0, 9, 0.5), (47, 47, -1.0))
    assert parse_block_ranges(" ") == ()
    with pytest.raises(ValueError, match=r"expected FIRST-LAST=FACTOR, for instance 0-9=0\.5, found 'all'"):
        parse_block_ranges("0=1, all")


def test_pairs_add_up_along_their_rank() -> None:
    generator = torch.Generator().manual_seed(0)
    pairs = [
        LowRank(
            down=torch.randn(rank, 6, generator=generator), up=torch.randn(5, rank, generator=generator), scale=scale
        )
        for rank, scale in ((2, 0.5), (3, -1.0))
    ]
    x = torch.randn(2, 7, 6, generator=generator)
    whole = concatenated(pairs)
    assert whole.rank == 5
    torch.testing.assert_close(whole(x), pairs[0](x) + pairs[1](x))


def test_alpha_is_divided_by_the_rank_of_each_layer() -> None:
    parts = {"down": torch.ones(4, 2), "up": torch.ones(3, 4), "alpha": torch.tensor(2.0)}
    low = low_rank(parts, 0.5)
    assert low is not None
    assert low.scale == 0.25
    expected = torch.zeros(3, 2) + 0.25 * 4
    torch.testing.assert_close(adapted_weight(torch.zeros(3, 2), parts, 0.5, layer="a"), expected)
    assert low_rank(parts | {"dora_scale": torch.ones(3, 1)}, 1.0) is None


def test_formats_without_a_rule_for_fusing_say_so() -> None:
    layer = QuantisedLayer(name="l", format="mxfp8", tensors={})
    update = LowRank(down=torch.ones(1, 32), up=torch.ones(32, 1), scale=1.0)
    with pytest.raises(
        ValueError, match="l: expected a format that can be merged into, found mxfp8; apply at run time"
    ):
        fused({}, layer, [update])


def test_the_node_adds_a_lora_and_reports(tmp_path: Path) -> None:
    model = open_model(TINY, dtype=torch.float32)
    width = model.transformer.on(CPU).get_parameter(f"{LAYER}.weight").shape
    tensors = pair(f"diffusion_model.{LAYER}", rows=width[0], columns=width[1])
    path = lora_file(tmp_path / "l.safetensors", tensors, reference_downscale_factor="2")
    adapted, space, time, report = LoadLora.execute(model, str(path), 0.5, 1.0, 1.0, 1.0, 1.0, "").args
    assert (space, time) == (2, 1)
    assert report == f"{path}: rank 2, 1 layers applied"
    change = adapted.transformer.on(CPU).get_parameter(f"{LAYER}.weight") - model.transformer.on(CPU).get_parameter(
        f"{LAYER}.weight"
    )
    expected = (
        0.5 * tensors[f"diffusion_model.{LAYER}.lora_B.weight"] @ tensors[f"diffusion_model.{LAYER}.lora_A.weight"]
    )
    torch.testing.assert_close(change, expected, rtol=0.02, atol=0.02)


def test_a_report_is_plain_json(tmp_path: Path) -> None:
    path = lora_file(tmp_path / "l.safetensors", pair(LAYER))
    model = open_model(TINY, dtype=torch.float32)
    names = model.transformer.on(CPU).state_dict()
    lora = open_lora(path)
    row = json.loads(json.dumps(lora.report(lora.match(names)).as_json()))
    assert (row["applied"], row["rank"], row["generation"], row["ignored"]) == (1, 2, "any", {})


@pytest.mark.parametrize(
    ("metadata", "space"),
    [
        ({"hdr_transform": "acescct"}, "acescct"),
        ({"hdr_transform": "LogC3"}, "logc3"),
        ({"hdr_transform": "true"}, "logc3"),
        ({"use_hdr_transform": "true"}, "logc3"),
        ({"hdr_transform": "false"}, None),
        ({"use_hdr_transform": "False"}, None),
        ({}, None),
    ],
)
def test_an_hdr_adapter_names_its_working_space(tmp_path: Path, metadata: dict[str, str], space: str | None) -> None:
    net = Net()
    report = open_lora(lora_file(tmp_path / "a.safetensors", pair("a"), **metadata)).report(
        use(tmp_path / "a.safetensors", net).matched
    )
    assert report.hdr == space
    assert (f"frames are {space} codes" in str(report)) == (space is not None)
