"""The table of wrong text encoders (tests/test_wrong_files.py) through the loader node, and VAEs that do not fit."""

from __future__ import annotations

import importlib
import json
import runpy
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch

TABLE = runpy.run_path(str(Path(__file__).parents[1] / "test_wrong_files.py"))
NOT_IN_A_LIST = {"nothing"}  # a file that is not there is no choice of the node

ROLES = {"ltx.safetensors": "diffusion_models"}


@pytest.fixture
def place(host: Any) -> Iterator[Any]:
    """Moves a case's files into the folders of their roles, `role` unless ROLES says; they are gone after the test."""
    moved = []

    def move(folder: Path, role: str = "text_encoders") -> None:
        for file in folder.iterdir():
            target = host.models_folder / ROLES.get(file.name, role) / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            moved.append(file.replace(target))

    yield move
    for file in moved:
        file.unlink()


def failed(host: Any, class_type: str, **inputs: str) -> str:
    host.add(importlib.import_module(f"{host.package}.nodes.registry").NODES)
    loader = {"class_type": class_type, "inputs": {**inputs, "dtype": "float32"}}
    outcome = host.run({"load": loader, "show": {"class_type": "ToyShow", "inputs": {"value": ["load", 0]}}})
    assert outcome.ended == "failed", outcome
    return str(outcome.error).strip()


@pytest.mark.parametrize("case", sorted(TABLE["WRONG_ENCODERS"].keys() - NOT_IN_A_LIST))
def test_a_wrong_text_encoder_is_refused_by_the_loader(host: Any, place: Any, case: str, tmp_path: Path) -> None:
    make, message = TABLE["WRONG_ENCODERS"][case]
    source = tmp_path / "files"
    source.mkdir()
    encoder, checkpoint = make(TABLE["Files"](source))
    place(source)
    error = failed(host, "OpenLTXLoadTransformer", transformer=checkpoint.name, text_encoder=encoder.name)
    expected = message.replace("{0}/ltx", f"{host.models_folder / 'diffusion_models'}/ltx")
    assert error.endswith(expected.format(host.models_folder / "text_encoders"))


def vaes(files: Any, video: str, audio: str) -> list[Path]:
    """Headers of two VAEs that name their versions."""
    blocks = [["res_x", {"num_layers": 1}]] * (7 if video == "2" else 9)
    vae = {"_class_name": "CausalVideoAutoencoder", "encoder_blocks": blocks, "decoder_blocks": blocks}
    config = {"vae": vae, "audio_vae": {}, "vocoder": {}}
    return [
        files(f"{kind}.safetensors", {name: torch.zeros(1)}, {"config": json.dumps(config), "model_version": version})
        for kind, name, version in (("video", "decoder.x", video), ("audio", "audio_vae.decoder.x", audio))
    ]


@pytest.mark.parametrize(("ours", "theirs"), list(permutations(("2", "2.3", "2.5"), 2)))
def test_vaes_of_two_generations_are_refused_by_the_loader(
    host: Any, place: Any, ours: str, theirs: str, tmp_path: Path
) -> None:
    source = tmp_path / "files"
    source.mkdir()
    video, audio = vaes(TABLE["Files"](source), ours, theirs)
    place(source, role="vae")
    assert failed(host, "OpenLTXLoadVAE", video_vae=video.name, audio_vae=audio.name).endswith(
        f"audio_vae: expected LTX-{ours} like video.safetensors, found LTX-{theirs}; use parts of one generation"
    )
