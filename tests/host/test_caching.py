"""Prompts A, B, A with a LoRA in ComfyUI: the transformer is read and patched once, the encoder not touched again."""

from __future__ import annotations

import importlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

HERE = Path(__file__).resolve().parent
PACKAGE = "openltx_in_comfyui"
TRANSFORMER = "model.diffusion_model.transformer_blocks."


@pytest.fixture(scope="module")
def lora(comfyui_base: Path) -> str:
    """A LoRA for one layer of the embedded model."""
    tensors = load_file(HERE.parents[1] / "assets" / "openltx-tiny-2.3.safetensors")
    layer, generator = "transformer_blocks.0.attn1.to_q", torch.Generator().manual_seed(0)
    rows, columns = tensors[f"model.diffusion_model.{layer}.weight"].shape
    pair = {"lora_A": torch.randn(4, columns, generator=generator), "lora_B": torch.randn(rows, 4, generator=generator)}
    folder = comfyui_base / "models" / "loras"
    folder.mkdir(exist_ok=True)
    save_file(
        {f"diffusion_model.{layer}.{name}.weight": part for name, part in pair.items()}, folder / "cache.safetensors"
    )
    return "cache.safetensors"


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch, comfyui_base: Path) -> Counter[str]:
    """What happens: tensors of the transformer read, weights patched, prompts encoded, the encoder called for."""
    found: Counter[str] = Counter()

    def count(module: str, owner: str, method: str, name: str, wanted: Any = lambda *_: True) -> None:
        cls = getattr(importlib.import_module(f"{PACKAGE}.{module}"), owner)
        original = getattr(cls, method)

        def counting(self: Any, *arguments: Any, **options: Any) -> Any:
            found[name] += bool(wanted(*arguments))
            return original(self, *arguments, **options)

        monkeypatch.setattr(cls, method, counting)

    count("model_loaders.weights_file", "Checkpoint", "_tensor", "read", lambda name: name.startswith(TRANSFORMER))
    count("nodes.host.comfyui.lora", "LoraPatch", "calculate_weight", "patched")
    count("model_loaders.text_encoder", "TextEncoder", "encode_ids", "encoded")
    count("nodes.host.comfyui.clip", "InCLIP", "on", "loaded")
    return found


def test_prompts_change_without_reading_patching_or_encoding_again(
    graphs: Any, side: Any, lora: str, counted: Counter[str]
) -> None:
    own = graphs.anew()

    def run(text: str) -> Any:
        graph = side.stage()
        graph["yes"]["inputs"]["text"] = text
        factors = {name: 1.0 for name in ("video", "audio", "audio_to_video", "video_to_audio")}
        graph["lora"] = side.node("OpenLTXLoadLora", model=["load", 0], lora=lora, strength=1.0, blocks="", **factors)
        latent = own.run({**graph, "out": side.ours(model="lora")}, ("out", 0))
        happened = Counter(counted)
        counted.clear()
        return latent, happened

    first, cold = run("a red ball bounces")
    assert cold["read"] > 0
    assert cold["encoded"] == 2  # with the negative prompt
    _, other = run("a blue box slides")
    assert other["encoded"] == 1
    assert other["read"] == 0
    assert other["patched"] <= cold["patched"]
    again, warm = run("a red ball bounces")
    assert warm == Counter()
    for one, two in zip(again["samples"].unbind(), first["samples"].unbind(), strict=True):
        assert torch.equal(one, two)
