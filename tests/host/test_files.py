"""Model and input files by name, alike in both hosts; plain paths in the standalone host only."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from openltx.nodes.host import api as standalone_api
from openltx.nodes.host.standalone.settings import Settings, model_folders_below, use


@pytest.fixture(params=["standalone", "comfyui"])
def side(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Any, Path]]:
    """One side's api, and the folder that holds its models/ and input/."""
    if request.param == "comfyui":
        base = request.getfixturevalue("comfyui_base")
        yield importlib.import_module("openltx_in_comfyui.nodes.host.api"), base
        return
    models = model_folders_below(tmp_path / "models")
    with use(Settings(input_folder=tmp_path / "input", output_folder=tmp_path / "output", model_folders=models)):
        yield standalone_api, tmp_path


@pytest.fixture
def model(side: tuple[Any, Path]) -> Path:
    path = side[1] / "models" / "loras" / "sub" / "style.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    for name in ("style.safetensors", "style.gguf", "style.pt"):
        path.with_name(name).touch()
    return path


def test_models_are_listed_and_found(side: tuple[Any, Path], model: Path) -> None:
    api, _ = side
    assert api.model_files("loras") == ["sub/style.gguf", "sub/style.safetensors"]
    assert api.model_path("loras", "sub/style.safetensors").samefile(model)


def test_sequences_are_listed_and_found(side: tuple[Any, Path]) -> None:
    api, base = side
    for name in ("shot/frame_00000.exr", "still.exr", "notes/a.txt"):
        (base / "input" / name).parent.mkdir(parents=True, exist_ok=True)
        (base / "input" / name).touch()
    assert list(api.input_sequences(".exr")) == ["shot", "still.exr"]
    assert api.input_sequence("shot").samefile(base / "input" / "shot")
    assert api.input_sequence("still.exr").samefile(base / "input" / "still.exr")
    for name in ("none", "../input/none", "still.exr/shot"):
        with pytest.raises(ValueError, match="input: expected a file or a folder in"):
            api.input_sequence(name)


@pytest.mark.parametrize("name", ["sub/style.pt", "sub/none.safetensors", "../loras/../../secret.safetensors"])
def test_missing_models(side: tuple[Any, Path], model: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"loras: expected .* found .*; put the file into one of: .*loras"):
        side[0].model_path("loras", name)


@pytest.mark.parametrize("name", ["../../secret", "x/../../../secret", "./.././../secret", "../input/../../secret"])
def test_names_that_lead_out_are_refused_whatever_lies_there(side: tuple[Any, Path], name: str) -> None:
    api, folder = side
    (folder / "models" / "vae").mkdir(parents=True, exist_ok=True)
    secrets = [place / f"secret{suffix}" for place in (folder, folder.parent) for suffix in (".safetensors", ".png")]
    for secret in secrets:
        secret.touch()
    try:
        with pytest.raises(ValueError, match="vae: expected .* found .*; put the file into one of"):
            api.model_path("vae", f"{name}.safetensors")
        for where in ("", " [output]", " [temp]"):
            with pytest.raises(ValueError, match="input file: expected a file in"):
                api.input_file(f"{name}.png{where}")
    finally:
        for secret in secrets:
            secret.unlink()


def test_unknown_role(side: tuple[Any, Path]) -> None:
    with pytest.raises(ValueError, match="model role: expected one of checkpoints, .* found 'lora'"):
        side[0].model_files("lora")


def test_embedded_models_are_offered(side: tuple[Any, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api, _ = side
    files = importlib.import_module(api.OutputFile.__module__)
    monkeypatch.setattr(files, "ASSETS", tmp_path / "assets")
    for name in ("whole.safetensors", "vae/small.safetensors"):
        (tmp_path / "assets" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "assets" / name).touch()
    assert "whole.safetensors" in api.model_files("checkpoints")
    assert api.model_files("vae") == ["small.safetensors"]
    assert api.model_path("vae", "small.safetensors") == tmp_path / "assets" / "vae" / "small.safetensors"


def test_plain_paths(side: tuple[Any, Path], model: Path) -> None:
    api, _ = side
    if api is standalone_api:
        assert api.model_path("vae", str(model)) == model
        assert str(model) in api.model_files("vae")
        assert api.input_file(str(model)) == model
        assert str(model) in api.input_files("image")
    else:
        with pytest.raises(ValueError, match="vae: expected"):
            api.model_path("vae", str(model))
        with pytest.raises(ValueError, match="input file: expected"):
            api.input_file(str(model))


def test_inputs(side: tuple[Any, Path]) -> None:
    api, folder = side
    for name in ("input/cat.png", "input/cat.wav", "output/old.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    assert "cat.png" in api.input_files("image")
    assert "cat.png" not in list(api.input_files("audio"))
    assert api.input_file("cat.png").samefile(folder / "input" / "cat.png")
    assert api.input_file("old.png [output]").samefile(folder / "output" / "old.png")
    with pytest.raises(ValueError, match="input file: expected a file in"):
        api.input_file("dog.png")


def test_device_is_a_torch_device(side: tuple[Any, Path]) -> None:
    import torch

    assert isinstance(side[0].compute_device(), torch.device)


def test_warnings_reach_the_user(
    side: tuple[Any, Path], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    side[0].warn_user("slow disk")
    assert "slow disk" in capsys.readouterr().err + caplog.text


def test_new_models_go_into_the_first_folder(side: tuple[Any, Path]) -> None:
    api, folder = side
    assert api.model_folder("loras") == folder / "models" / "loras"
    with pytest.raises(ValueError, match="model role: expected one of"):
        api.model_folder("lora")
