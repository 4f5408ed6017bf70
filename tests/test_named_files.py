"""What loaders take from the names of files, and what they say about it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from openltx.model_loaders.doctor import ROLES
from openltx.model_loaders.file_names import generation_by_name, training_by_name
from openltx.model_loaders.parts import Lazy, VideoPart
from openltx.nodes.generations import GENERATION, of_part
from openltx.nodes.host.standalone.runtime import model_files
from openltx.nodes.host.standalone.settings import Settings, model_folders_below, use
from openltx.nodes.load import INSIDE, LoadModel, LoadUpscaler, LoadVAE
from openltx.nodes.named_files import chosen, files_with

ROOT = Path(__file__).resolve().parents[1]
TINY = ROOT / "assets" / "openltx-tiny-2.3.safetensors"
UPSCALER = ROOT / "assets" / "latent_upscale_models" / "openltx-tiny-2.3-spatial-x2.safetensors"


@pytest.mark.parametrize(
    ("name", "generation", "training"),
    [
        ("ltx-2.3-22b-dev-fp8.safetensors", "2.3", "dev"),
        ("ltx-2.3-22b-distilled-1.1_transformer_only_bf16.safetensors", "2.3", "distilled"),
        ("ltx-2-19b-distilled-Q4_K_M.gguf", "2", "distilled"),
        ("ltx-2.5-22b-dev-transformer-bf16.safetensors", "2.5", "dev"),
        ("LTX23_video_vae_bf16.safetensors", "2.3", None),
        ("ltxv-13b-0.9.8-dev.safetensors", None, "dev"),
        ("openltx-tiny-2.3.safetensors", None, None),
        ("device_undistilled.safetensors", None, None),
    ],
)
def test_words_of_a_name(name: str, generation: str | None, training: str | None) -> None:
    assert (generation_by_name(name), training_by_name(name)) == (generation, training)


@pytest.fixture
def models(tmp_path: Path) -> Any:
    """A models folder with the tiny model under a published name."""
    for role, source, name in (
        ("checkpoints", TINY, "ltx-2.3-22b-distilled.safetensors"),
        ("latent_upscale_models", UPSCALER, "ltx-2.3-spatial-upscaler-x2-1.0.safetensors"),
    ):
        (tmp_path / role).mkdir()
        shutil.copy(source, tmp_path / role / name)
    with use(Settings(model_folders=model_folders_below(tmp_path))):
        yield tmp_path


def loaded(name: str, training: str) -> Any:
    return LoadModel.execute(name, INSIDE, "float32", training).args[0]


def test_auto_takes_the_name_and_says_so(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert loaded("ltx-2.3-22b-distilled.safetensors", "auto").training == "distilled"
    said = capsys.readouterr().err
    assert "ltx-2.3-22b-distilled.safetensors: taken for distilled, by its name; choose 'training'" in said
    assert "by its name superseded: use ltx-2.3-22b-distilled-1.1" in said
    assert loaded("openltx-tiny-2.3.safetensors", "auto").training is None
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("training", ["dev", "distilled"])
def test_the_user_decides(models: Path, training: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert loaded("ltx-2.3-22b-distilled.safetensors", training).training == training
    assert "taken for" not in capsys.readouterr().err
    with pytest.raises(ValueError, match="training: expected auto or one of dev, distilled, found 'Dev'"):
        loaded("openltx-tiny-2.3.safetensors", "Dev")


def test_a_superseded_upscaler_is_named_when_it_is_loaded(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    LoadUpscaler.execute("ltx-2.3-spatial-upscaler-x2-1.0.safetensors", "float32")
    assert "by its name superseded: use ltx-2.3-spatial-upscaler-x2-1.1" in capsys.readouterr().err


def test_the_withdrawn_upscaler_is_known_by_its_size_under_any_name(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sparse file: nothing but its header is written."""
    path = models / "latent_upscale_models" / "mine.safetensors"
    tensors = {"initial_conv.weight": torch.zeros(4, 2, 3, 3, 3), "final_conv.weight": torch.zeros(2, 4, 3, 3, 3)}
    save_file(tensors, path)
    with path.open("r+b") as file:
        file.truncate(995_743_504)
    with pytest.raises(ValueError, match="mine"):
        LoadUpscaler.execute("mine.safetensors", "float32")
    assert "superseded: this is the LTX-2.3 spatial upscaler x2 1.0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "header", "warned"),
    [
        ("ltx-2.3-video-vae.safetensors", "2.3 or 2.5", True),
        ("ltx-2.5-video-vae.safetensors", "2.3 or 2.5", False),
        ("ltx-2.3-video-vae.safetensors", "2.5", False),  # what the header says counts alone
        ("vae.safetensors", None, False),
    ],
)
def test_a_name_of_another_generation_is_a_word_to_the_user(
    name: str, header: str | None, warned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    unread: Any = Lazy(lambda: None, torch.float32)
    part = VideoPart(generation=header, path=Path(name), encoder=unread, decoder=unread, statistics=unread)
    assert of_part({GENERATION: "2.5"}, part) == {GENERATION: "2.5"}
    text = f"{name}: by its name of LTX-2.3, used with LTX-2.5; check that it is right"
    assert (text in capsys.readouterr().err) == warned


def test_parts_are_found_in_all_folders_where_they_may_lie(tmp_path: Path) -> None:
    """Older names of folders too; a whole checkpoint serves as VAE file, beside a transformer of its own."""
    for place, name in (("unet", "a.gguf"), ("clip", "b.safetensors"), ("checkpoints", "c.safetensors")):
        (tmp_path / place).mkdir()
        shutil.copy(TINY, tmp_path / place / name)
    (tmp_path / "vae").mkdir()
    shutil.copy(TINY, tmp_path / "vae" / "d.safetensors")
    with use(Settings(model_folders=model_folders_below(tmp_path))):
        assert "a.gguf" in model_files("diffusion_models")
        assert "b.safetensors" in model_files("text_encoders")
        assert files_with(ROLES["video_vae"])[0] == "d.safetensors"
        assert {"a.gguf", "b.safetensors", "c.safetensors"} < set(files_with(ROLES["connectors"], before=["none"]))
        assert chosen(ROLES["audio_vae"], "c.safetensors") == tmp_path / "checkpoints" / "c.safetensors"
        assert LoadVAE.execute("d.safetensors", "c.safetensors", "float32").args[1].path.name == "c.safetensors"
        with pytest.raises(ValueError, match=r"vae: expected a file that exists, found 'e.safetensors'"):
            chosen(ROLES["audio_vae"], "e.safetensors")
