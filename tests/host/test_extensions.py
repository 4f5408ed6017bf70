"""A pack that imports nothing of ours adds a step rule: both hosts offer it, and step to the same latents with it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from openltx.extensions import TABLE
from openltx.nodes.registry import NODES

PACK = Path(__file__).parents[1] / "example_pack.py"
MODEL = {"checkpoint": "openltx-tiny-2.3.safetensors", "text_encoder": "inside the checkpoint"}
SIZE = {"width": 64, "height": 64, "frames": 9, "frame_rate": 24.0}


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": class_type}}


PROMPT = {
    "1": node("OpenLTXLoadModel", dtype="auto", **MODEL),
    "2": node("OpenLTXEncodePrompt", text_encoder=["1", 1], text="a red ball"),
    "3": node("OpenLTXEmptyAVLatent", model=["1", 0], streams="video and audio", divisor=1, **SIZE),
    "4": node("OpenLTXDistilledSchedule", table="stage 2"),
    "5": node("OpenLTXNoise", noise_seed=10),
    "6": node("OpenLTXSampler", rule="halfway", eta=1.0, s_noise=1.0, gamma=2.0, sde_seed=-1),
    "7": node("OpenLTXPresetGuider", model=["1", 0], positive=["2", 0], preset="none"),
    "8": node(
        "OpenLTXSampleStage", noise=["5", 0], guider=["7", 0], sampler=["6", 0], sigmas=["4", 0], latent=["3", 0]
    ),
    "9": node("ToyDigest", latent=["8", 0]),
    "10": node("ToyShow", value=["9", 0]),
}


def load_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("a_pack", PACK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "a_pack", module)
    spec.loader.exec_module(module)


def test_a_step_rule_of_another_pack(both_hosts: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    standalone, comfyui = both_hosts
    standalone.add(NODES)
    comfyui.add(importlib.import_module("openltx_in_comfyui.nodes.host.comfyui").comfyui_extension().nodes)
    monkeypatch.setitem(sys.modules, TABLE, ModuleType(TABLE))
    for host in both_hosts:
        refused = host.run(PROMPT)
        assert refused.ended == "refused"
        assert "halfway" in refused.error
    load_pack(monkeypatch)
    digests = []
    for host in both_hosts:
        outcome = host.run(PROMPT)
        assert outcome.ended == "success", outcome.error
        digests.append(outcome.ui["10"]["text"][0].split()[0])
    assert len(digests[0]) > 60
    assert digests[0] == digests[1]
