"""Detection: published files and repacks by their headers alone, and what `openltx inspect` says of a file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from openltx.cli import main
from openltx.model_loaders import detection
from openltx.model_loaders.checkpoint import CheckpointError
from openltx.model_loaders.detection import Detected, detect, detect_file, reference_factors
from openltx.model_loaders.division import divide
from openltx.model_loaders.inspect import inspect_file
from openltx.model_loaders.safetensors_header import TensorEntry

ROOT = Path(__file__).resolve().parents[1]
MANIFESTS = ROOT.parent / "shared" / "manifests"
TINY = ROOT / "assets" / "openltx-tiny-2.3.safetensors"

# published file → kind, generation, details; without the metadata where a repack may lack it
PUBLISHED = {
    "transformer-ltx-2-19b": ("transformer", "2"),
    "transformer-ltx-2.3-22b": ("transformer", "2.3"),
    "transformer-ltx-2.5-22b": ("transformer", "2.5"),
    "text_projection-ltx-2-19b": ("connectors", "2"),
    "text_projection-ltx-2.3-22b": ("connectors", "2.3 or 2.5"),
    "video_vae-ltx-2-19b": ("video_vae", "2"),
    "video_vae-ltx-2.3-22b": ("video_vae", "2.3 or 2.5"),
    "video_vae-ltx-2.5-22b": ("video_vae", "2.3 or 2.5"),
    "video_vae_diffusion-ltx-2.5-22b": ("video_vae", "2.5"),
    "audio_vae-ltx-2-19b": ("audio_vae", "any"),
    "vocoder-ltx-2-19b": ("vocoder", "2"),
    "vocoder-ltx-2.3-22b": ("vocoder", "2.3 or 2.5"),
    "duration_head-ltx-2.5-22b": ("duration_head", "2.5"),
    "gemma3-12b-text": ("text_encoder", "2 or 2.3"),
    "gemma4-12b-ltx": ("text_encoder", "2.5"),
    "latent_upscaler-ltx-2-19b-spatial-x2": ("latent_upsampler", "any"),
    "latent_upscaler-ltx-2.3-22b-spatial-x1.5": ("latent_upsampler", "any"),
    "latent_upscaler-ltx-2.5-22b-temporal-x2": ("latent_upsampler", "any"),
}


def rows(name: str) -> dict[str, TensorEntry]:
    path = MANIFESTS / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"NOT CHECKED: detection of {name}; the manifest {path} is not here")
    tensors: dict[str, Any] = json.loads(path.read_text())["tensors"]
    return {
        key: TensorEntry(dtype=dtype, shape=tuple(shape), start=0, end=0) for key, (shape, dtype) in tensors.items()
    }


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_file_without_metadata(name: str) -> None:
    found = detect({}, rows(name))
    assert (found.kind, found.generation) == PUBLISHED[name]
    assert found.weight_format == "bf16"


@pytest.mark.parametrize(
    ("name", "axis", "scale"),
    [
        ("latent_upscaler-ltx-2-19b-spatial-x2", "spatial", 2.0),
        ("latent_upscaler-ltx-2.3-22b-spatial-x1.5", "spatial", 1.5),
        ("latent_upscaler-ltx-2.5-22b-temporal-x2", "temporal", 2.0),
    ],
)
def test_an_upscaler_without_metadata(name: str, axis: str, scale: float) -> None:
    assert detect({}, rows(name)).details == {"axis": axis, "scale": scale}


@pytest.mark.parametrize("generation", ["2-19b", "2.3-22b", "2.5-22b"])
def test_every_name_of_a_transformer_belongs_to_it_whatever_the_prefix(generation: str) -> None:
    names = list(rows(f"transformer-ltx-{generation}"))
    bare = [name.removeprefix("model.diffusion_model.") for name in names]
    for prefix in ("model.diffusion_model.", "diffusion_model.", ""):
        assert divide([prefix + name for name in bare]) == {
            "transformer": {name: prefix + name for name in bare},
        }


def test_prefixes_are_tested_at_the_start_only() -> None:
    found = divide(["audio_vae.encoder.x", "vocoder.vocoder.vae.decoder.y", "my.vae.encoder.z", "tokenizer_json"])
    assert found == {
        "audio_vae_encoder": {"x": "audio_vae.encoder.x"},
        "vocoder": {"vocoder.vae.decoder.y": "vocoder.vocoder.vae.decoder.y"},
    }


def test_nonsense_is_unsupported_and_never_an_error() -> None:
    entry = TensorEntry(dtype="F32", shape=(), start=0, end=0)
    for metadata in ({}, {"config": "{"}, {"config": "[]"}, {"config": '{"vae": 3}'}):
        assert detect(metadata, {"x": entry}).kind == "unsupported"
    assert detect({}, {}) == Detected(kind="unsupported", generation="unknown", components=(), weight_format="none")


@pytest.mark.parametrize(("text", "factor"), [("2", 2), ("2.0", 2), ("0", 1), ("0.5", 1)])
def test_reference_factors_are_read_as_whole_numbers(text: str, factor: int) -> None:
    assert reference_factors({"reference_downscale_factor": text}) == {"reference_downscale_factor": factor}
    assert reference_factors({"reference_downscale_factor": "inf", "reference_temporal_scale_factor": "x"}) == {}


def test_results_are_remembered_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"duration_head.mlp_hidden.bias": torch.zeros(1)}, path)
    first = detect_file(path)
    assert first.kind == "duration_head"
    for work in ("detect", "open_checkpoint"):
        monkeypatch.setattr(detection, work, lambda *_: pytest.fail("asked again"))
    assert detect_file(path) is first
    monkeypatch.undo()
    save_file({"vocoder.conv_pre.weight": torch.zeros(2, 2)}, path)
    os.utime(path, ns=(1, 1))
    assert detect_file(path).kind == "vocoder"


def test_a_folder_of_shards_is_one_model(tmp_path: Path) -> None:
    save_file({"vae.encoder.x": torch.zeros(3)}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"vae.decoder.x": torch.zeros(4)}, tmp_path / "model-00002-of-00002.safetensors")
    found = inspect_file(tmp_path)
    assert {row.component: row.parameters for row in found.components} == {
        "video_vae_decoder": 4,
        "video_vae_encoder": 3,
    }
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="found none"):
        detect_file(tmp_path / "empty")


# openltx inspect


def test_inspect_counts_parameters_not_packed_bytes_or_scales(tmp_path: Path) -> None:
    layer = "transformer_blocks.0.attn1.to_q"
    tensors = {
        "patchify_proj.weight": torch.zeros(4, 4),
        "audio_patchify_proj.weight": torch.zeros(4, 4),
        f"{layer}.weight": torch.zeros(16, 8, dtype=torch.uint8),
        f"{layer}.weight_scale": torch.zeros(128, 4).to(torch.float8_e4m3fn),
        f"{layer}.weight_scale_2": torch.ones(()),
    }
    save_file(tensors, tmp_path / "ltx-distilled.safetensors")
    report = inspect_file(tmp_path / "ltx-distilled.safetensors")
    (row,) = report.components
    assert (row.tensors, row.parameters, row.bytes) == (3, 16 + 16 + 256, 64 + 64 + 128 + 512 + 4)
    assert report.weight_format == "nvfp4"
    assert report.notes == ("distilled, by its name; nothing inside a file tells dev from distilled",)


def test_inspect_prints_lines_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(TINY)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{TINY}: monolith, LTX-2.3, ")
    assert any(line.split()[:1] == ["transformer"] for line in lines)
    assert main(["inspect", str(TINY), "--json", "--hash"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["files"]
    assert row["kind"] == "monolith"
    assert len(row["sha256"]) == 64


def test_what_is_no_model_file_is_one_line_and_the_others_are_still_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("a shopping list, nothing more")
    assert main(["inspect", str(tmp_path / "notes.txt"), str(tmp_path / "none"), str(TINY)]) == 2
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 2
    assert "weights are read from .safetensors and .gguf only" in captured.err
    assert "no such file" in captured.err
    assert "monolith" in captured.out
    assert main(["inspect"]) == 2
    assert "expected either files or --config NAME" in capsys.readouterr().err


def test_superseded_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "ltx-2.3-spatial-upscaler-x2-1.0.safetensors"
    tensors = {"initial_conv.weight": torch.zeros(4, 2, 3, 3, 3), "final_conv.weight": torch.zeros(2, 4, 3, 3, 3)}
    save_file(tensors | {"upsampler.0.weight": torch.zeros(16, 4, 3, 3)}, path)
    assert inspect_file(path).notes == ("by its name superseded: use ltx-2.3-spatial-upscaler-x2-1.1",)


def test_a_lora_is_reported_for_every_model_that_it_fits(tmp_path: Path) -> None:
    layer = "diffusion_model.transformer_blocks.3.attn1.to_gate_logits"
    pair = {f"{layer}.lora_A.weight": torch.zeros(4, 4096), f"{layer}.lora_B.weight": torch.zeros(32, 4)}
    connector = "diffusion_model.video_embeddings_connector.transformer_1d_blocks.0.attn1.to_q"
    pair |= {f"{connector}.lora_A.weight": torch.zeros(8, 4096), f"{connector}.lora_B.weight": torch.zeros(4096, 8)}
    save_file(pair, tmp_path / "lora.safetensors", {"reference_downscale_factor": "2"})
    report = inspect_file(tmp_path / "lora.safetensors")
    assert report.details == {"rank": 8, "smallest_rank": 4, "reference_downscale_factor": 2}
    assert report.generation == "2.3 or 2.5"
    assert ": lora, LTX-2.3 or 2.5, rank 8, smallest_rank 4, reference_downscale_factor 2, " in report.lines()[0]
    assert set(report.lora) == {"ltx-2.3-22b", "ltx-2.5-22b"}
    row = report.lora["ltx-2.3-22b"]
    assert (row.applied, row.ignored) == (1, {"text connectors": 2})
    assert any("for ltx-2.3-22b: 1 layers applied, keys ignored: 2 of text connectors" in s for s in report.lines())
