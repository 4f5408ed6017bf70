"""A sampled stage in both hosts: it stops within a block, and its step previews reach the interface."""

from __future__ import annotations

import importlib
import json
from typing import Any

import pytest

from openltx.nodes.registry import NODES

PACKAGES = {"standalone": "openltx", "comfyui": "openltx_in_comfyui"}


def _nodes_of(host: Any) -> str:
    """Registers our own nodes with the host; the name of the package that they are of."""
    package = PACKAGES[host.name]
    if host.name == "standalone":
        host.nodes = NODES
    else:
        host.executor.register(importlib.import_module(f"{package}.nodes.registry").NODES)
    return package


def _prompt(seed: int) -> dict[str, Any]:
    """One stage of three steps on the embedded model, with a preview, saved as sound."""

    def node(kind: str, **inputs: Any) -> dict[str, Any]:
        return {"class_type": f"OpenLTX{kind}", "inputs": inputs, "_meta": {"title": kind}}

    checkpoint = {"checkpoint": "openltx-tiny-2.3.safetensors", "text_encoder": "inside the checkpoint"}
    return {
        "m": node("LoadModel", **checkpoint, dtype="float32"),
        "p": node("EncodePrompt", text_encoder=["m", 1], text="a ball"),
        "l": node("EmptyAVLatent", model=["m", 0], width=64, height=32, frames=9, frame_rate=24.0),
        "t": node("DistilledSchedule", table="stage 2"),
        "n": node("Noise", noise_seed=seed),
        "r": node("Sampler", rule="euler", eta=1.0, s_noise=1.0, gamma=2.0, sde_seed=-1),
        "g": node("PresetGuider", model=["m", 0], positive=["p", 0], preset="none"),
        "v": node("StepPreview", guider=["g", 0], video_vae=["m", 2], audio_vae=["m", 3]),
        "s": node("SampleStage", noise=["n", 0], guider=["v", 0], sampler=["r", 0], sigmas=["t", 0], latent=["l", 0]),
        "a": node("DecodeAudio", audio_vae=["m", 3], latent=["s", 0]),
        "w": node("SaveAudio", audio=["a", 0], filename_prefix="stage", container="wav"),
    }


def test_it_stops_within_a_block(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    block = importlib.import_module(f"{_nodes_of(host)}.networks.transformer.block").Block
    ran: list[int] = []
    forward = block.forward

    def stopping(self: Any, *arguments: Any) -> Any:
        ran.append(self.index)
        if len(ran) == 6:
            host.stop()
        return forward(self, *arguments)

    monkeypatch.setattr(block, "forward", stopping)
    assert host.run(_prompt(1)).ended == "interrupted"
    assert len(ran) == 6


def test_every_step_is_shown(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = importlib.import_module(f"{_nodes_of(host)}.nodes.host.{host.name}.runtime")
    seen: list[tuple[int, tuple[int, int] | None]] = []
    update = runtime.Progress.update_absolute

    def listening(self: Any, value: int, total: int | None = None, preview: Any = None) -> None:
        if total == 3:
            seen.append((value, None if preview is None else preview.size))
        update(self, value, total, preview)

    monkeypatch.setattr(runtime.Progress, "update_absolute", listening)
    outcome = host.run(_prompt(2))
    assert outcome.ended == "success", outcome.error
    assert [value for value, _ in seen] == [1, 2, 3]
    assert {size for _, size in seen} == {(512, 160)}


def test_a_prompt_that_was_stopped_goes_on_in_comfyui(host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its finished steps lie in the output folder; what it saves is what an undisturbed one saves."""
    if host.name == "standalone":
        pytest.skip("our own host is told by openltx.run where to keep steps: tests/test_resume.py")
    package, folder = _nodes_of(host), host.output_folder / ".openltx_state"
    block = importlib.import_module(f"{package}.networks.transformer.block").Block
    texts = importlib.import_module(f"{package}.media.texts").read_texts
    ran, forward, limit = [0], block.forward, [0]

    def counting(self: Any, *arguments: Any) -> Any:
        ran[0] += 1
        if ran[0] == limit[0]:
            host.stop()
        return forward(self, *arguments)

    def saved(keep_after: int) -> Any:
        ran[0] = 0
        prompt = _prompt(5)
        prompt["s"]["inputs"]["keep_after"] = keep_after
        outcome = host.run(prompt)
        if outcome.ended != "success":
            return outcome.ended
        (name,) = {entry["filename"] for entry in outcome.ui["w"]["audio"]}
        return json.loads(texts(host.output_folder / name)["openltx"])["result"]

    monkeypatch.setattr(block, "forward", counting)
    expected, calls = saved(-1), ran[0]
    assert not folder.exists()
    limit[0] = calls // 3 * 2  # at the end of the second of three steps
    assert saved(0) == "interrupted"
    assert [path.name.split(".")[1] for path in folder.iterdir()] == ["step"]
    limit[0] = 0
    assert saved(0) == expected
    assert ran[0] == calls // 3  # of one step
    assert [path.name.split(".")[1] for path in folder.iterdir()] == ["done"]
    assert host.run(_prompt(6)).ended == "success"  # another prompt: the one before is done
    assert not folder.exists()
