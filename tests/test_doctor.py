"""The doctor: which generation is complete, what is missing from where, and what is wrong with what is there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from openltx.cli import main
from openltx.model_loaders.catalogue import BUNDLES, bundle_of, files_of, names
from openltx.nodes.host.files import MODEL_ROLES

TINY = Path(__file__).resolve().parents[1] / "assets" / "openltx-tiny-2.3.safetensors"
TRANSFORMER_2_5 = {
    **{f"model.diffusion_model.{stream}patchify_proj.weight": (4, 4) for stream in ("", "audio_")},
    "model.diffusion_model.transformer_blocks.0.attn1.to_gate_logits.weight": (1, 4),
    "model.diffusion_model.video_embeddings_connector.learnable_registers": (2, 4),
}
GEMMA_4 = {
    "model.embed_tokens.weight": (4, 4),
    "model.layers.0.self_attn.q_norm.weight": (4,),
    "model.layers.0.pre_feedforward_layernorm.weight": (4,),
    "model.layers.0.post_feedforward_layernorm.weight": (4,),
    "model.layers.0.layer_scalar": (1,),
    "tokenizer_json": (4,),
    "text_embedding_projection.video_aggregate_embed.weight": (4, 4),
}
VIDEO_VAE = {"decoder.conv_in_x_t.bias": (2,), "encoder.x": (2,)}
AUDIO_VAE = {"audio_vae.decoder.x": (2,), "vocoder.vocoder.conv_pre.bias": (2,)}


def put(models: Path, role: str, name: str, shapes: dict[str, Any]) -> Path:
    path = models / role / name
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(
        {
            key: torch.zeros(shape, dtype=torch.uint8 if key == "tokenizer_json" else None)
            for key, shape in shapes.items()
        },
        path,
    )
    return path


def diagnosis(models: Path, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The whole report, and the state of each generation by its name."""
    assert main(["doctor", "--json", "--models", str(models)]) == 0
    report = json.loads(capsys.readouterr().out)
    return report, {state["generation"]: state for state in report["generations"]}


def test_nothing_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report, states = diagnosis(tmp_path, capsys)
    assert report["files"] == []
    assert set(report["folders"]) == set(MODEL_ROLES)
    assert report["installed"]["packages"]["torch"] == torch.__version__
    assert not any(state["complete"] for state in states.values())
    first = states["2.3"]["missing"][0]
    assert first["repository"] == "Lightricks/LTX-2.3-fp8"
    assert first["file"] == "ltx-2.3-22b-distilled-fp8.safetensors"
    assert first["folder"] == str(tmp_path / "checkpoints")
    assert first["parts"] == ["transformer", "connectors", "text projection", "video VAE", "audio VAE"]
    assert [missing["parts"] for missing in states["2.5"]["missing"]] == [
        ["transformer", "connectors"],
        ["text projection", "text encoder"],
        ["video VAE"],
        ["audio VAE"],
    ]
    assert states["2.5"]["missing"][3]["file"] == "vae/ltx-2.5-audio-vae-bf16.safetensors"
    assert all(missing["gated"] for missing in states["2.5"]["missing"])


def test_a_whole_checkpoint_is_complete(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "checkpoints").mkdir()
    shutil.copy(TINY, tmp_path / "checkpoints")
    _, states = diagnosis(tmp_path, capsys)
    assert [states[name]["complete"] for name in ("2", "2.3", "2.5")] == [False, True, False]
    assert main(["doctor", "--models", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "LTX-2.3: complete; no upscaler, which two-stage recipes need" in said
    assert "LTX-2.5: incomplete; all of it: openltx download ltx-2.5-distilled-int8" in said


def test_split_files_complete_a_generation_one_by_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = [4, 3, 2, 1, 0]
    put(tmp_path, "vae", "none-of-it.safetensors", {"x": (1,)})
    steps = (
        ("vae", "audio.safetensors", AUDIO_VAE),
        ("vae", "video.safetensors", VIDEO_VAE),
        ("text_encoders", "gemma.safetensors", GEMMA_4),
        ("diffusion_models", "ltx.safetensors", TRANSFORMER_2_5),
    )
    for missing, step in zip(expected, (None, *steps), strict=True):
        if step is not None:
            put(tmp_path, *step)
        _, states = diagnosis(tmp_path, capsys)
        assert len(states["2.5"]["missing"]) == missing
        assert states["2.5"]["complete"] == (missing == 0)
    assert not states["2.3"]["complete"]  # the audio VAE fits it as well, the rest does not
    assert states["2.3"]["found"].keys() == {"audio VAE"}


@pytest.mark.parametrize("name", ["LTX23_audio_vae_bf16.safetensors", "ltx-2.5-audio-vae.safetensors"])
def test_a_name_decides_where_the_header_leaves_two(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, "vae", name, AUDIO_VAE)
    _, states = diagnosis(tmp_path, capsys)
    assert [("audio VAE" in states[each]["found"]) for each in ("2.3", "2.5")] == [name[0] == "L", name[0] == "l"]


def test_what_is_wrong_is_said_and_does_not_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path, "loras", "ltx.safetensors", TRANSFORMER_2_5)
    put(
        tmp_path,
        "text_encoders",
        "bare.safetensors",
        {name: shape for name, shape in GEMMA_4.items() if "json" not in name},
    )
    put(tmp_path, "vae", "sdxl.safetensors", {"first_stage_model.x": (1,)})
    (tmp_path / "vae" / "lfs.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\nsize 1\n")
    report, states = diagnosis(tmp_path, capsys)
    problems = {Path(file["path"]).name: file["problem"] for file in report["files"]}
    assert problems["ltx.safetensors"] == "a transformer belongs into diffusion_models, not loras; move it there"
    assert "no tokenizer in it, and neither tokenizer.json nor tokenizer.model" in problems["bare.safetensors"]
    assert problems["sdxl.safetensors"] == "no part of LTX-2, LTX-2.3 or LTX-2.5"
    assert "a Git-LFS pointer" in problems["lfs.safetensors"]
    assert states["2.5"]["found"] == {}


def test_shards_are_one_model_and_a_missing_one_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half = len(GEMMA_4) // 2
    items = list(GEMMA_4.items())
    for number, part in ((1, items[:half]), (2, items[half:])):
        put(tmp_path, "text_encoders", f"gemma/model-0000{number}-of-00002.safetensors", dict(part))
    report, states = diagnosis(tmp_path, capsys)
    assert [file["path"] for file in report["files"]] == [str(tmp_path / "text_encoders" / "gemma")]
    assert "text encoder" in states["2.5"]["found"]
    (tmp_path / "text_encoders" / "gemma" / "model-00001-of-00002.safetensors").unlink()
    report, states = diagnosis(tmp_path, capsys)
    assert "text encoder" not in states["2.5"]["found"]


def test_every_set_makes_a_whole_model_and_every_name_is_unique() -> None:
    for bundle in BUNDLES:
        roles = {file.role for file in bundle.files}
        whole = {"checkpoints", "text_encoders"} if bundle.generation != "2.5" else {"diffusion_models", "vae"}
        assert whole | {"text_encoders", "latent_upscale_models"} <= roles <= set(MODEL_ROLES)
        assert files_of(bundle.name) == bundle.files
    assert len(names()) == len(set(names()))
    assert {bundle_of(each).generation for each in ("2", "2.3", "2.5")} == {"2", "2.3", "2.5"}
    with pytest.raises(ValueError, match="'ltx-3': no such download; expected one of ltx-2-distilled-fp8, "):
        files_of("ltx-3")
