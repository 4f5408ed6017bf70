"""Shot lists in ComfyUI: the LoRA of a shot and the pictures that it is given count as in the standalone host."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from openltx.api import load_workflow
from openltx.nodes.registry import NODES

CHECKPOINT = Path(__file__).resolve().parents[2] / "assets" / "openltx-tiny-2.3.safetensors"
LAYER = "transformer_blocks.0.attn1.to_q"
FILM = """
[film]
width = 64
height = 64
window = 1.0
overlap = 0.4
[[shot]]
length = 0.7
prompt = "a red ball bounces"
loras = [{file = "tiny.safetensors", strength = 0.8}]
[[shot]]
length = 0.7
prompt = "a blue box slides right"
first = "red.png"
transition = "overlap"
overlap = 0.3
"""


@pytest.fixture
def lora(comfyui_base: Path) -> Path:
    rows, columns = load_file(CHECKPOINT)[f"model.diffusion_model.{LAYER}.weight"].shape
    generator = torch.Generator().manual_seed(0)
    parts = {"A": torch.randn(4, columns, generator=generator), "B": torch.randn(rows, 4, generator=generator)}
    path = comfyui_base / "models" / "loras" / "tiny.safetensors"
    path.parent.mkdir(exist_ok=True)
    save_file({f"diffusion_model.{LAYER}.lora_{part}.weight": value * 0.3 for part, value in parts.items()}, path)
    return path


def test_loras_and_pictures_of_shots_in_both_hosts(
    both_hosts: tuple[Any, Any], comfyui_base: Path, lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = load_workflow("shots")
    prompt["2"]["inputs"]["text"], prompt["4"]["inputs"]["steps"], prompt["6"]["inputs"]["cfg"] = FILM, 2, 1.0
    standalone, comfyui = both_hosts
    standalone.nodes, standalone.models_folder = NODES, comfyui.models_folder
    standalone.input_folder = comfyui_base / "input"
    standalone.input_folder.mkdir(exist_ok=True)
    Image.new("RGB", (64, 64), "red").save(standalone.input_folder / "red.png")
    comfyui.add(importlib.import_module("openltx_in_comfyui.nodes.host.comfyui").comfyui_extension().nodes)

    def pieces(host: Any, name: str) -> list[torch.Tensor]:
        """Video latents of the film's two takes and its seam."""
        monkeypatch.setenv("OPENLTX_CACHE", str(tmp_path / name))
        outcome = host.run(prompt)
        assert outcome.ended == "success", f"{host.name}: {outcome.error}"
        found = [load_file(path)["video"] for path in (tmp_path / name).rglob("latents.safetensors")]
        return sorted(found, key=lambda video: (video.shape[2], float(video.sum())))

    ours, theirs = pieces(standalone, "ours"), pieces(comfyui, "theirs")
    assert len(ours) == len(theirs) == 3
    assert max(float((one - other).abs().max()) for one, other in zip(ours, theirs, strict=True)) < 1e-4
    prompt["2"]["inputs"]["text"] = FILM.replace("strength = 0.8", "strength = 0.0")
    plain = pieces(standalone, "plain")
    assert max(float((one - other).abs().max()) for one, other in zip(ours, plain, strict=True)) > 1e-2


def test_patches_of_others_are_in_a_model_s_identity(graphs: Any, side: Any) -> None:
    own_model = importlib.import_module("openltx_in_comfyui.nodes.host.comfyui.model").own_model
    model = graphs.run(side.stage(), ("load", 0))
    assert own_model(model, "model").transformer.patches == ""
    patched = model.clone()
    key = f"diffusion_model.{LAYER}.weight"
    shape = model.model_state_dict(key)[key].shape
    patched.add_patches({key: ("diff", (torch.ones(shape),))}, 0.1)
    first = own_model(patched, "model").transformer.patches
    assert first
    patched.add_patches({key: ("diff", (torch.ones(shape),))}, 0.2)
    assert own_model(patched, "model").transformer.patches not in ("", first)
