"""The bundled recipe gives the same frames and samples in both hosts, from the same node classes."""

from __future__ import annotations

import hashlib
import importlib
import json
from pathlib import Path
from typing import Any

import torch

from openltx.api import load_workflow
from openltx.media.av_reader import read_tags
from openltx.nodes.registry import NODES

SMALL = {"4": {"width": 64, "height": 64, "frames": 17}, "5": {"steps": 3}, "6": {"noise_seed": 4}}


def test_the_same_frames_and_samples_in_both_hosts(both_hosts: tuple[Any, Any], monkeypatch: Any) -> None:
    """Compared before the encoder: x264 gives varying bytes for frames as small as these, run by run."""
    prompt = load_workflow("text_to_av")
    for node_id, values in SMALL.items():
        prompt[node_id]["inputs"] |= values
    standalone, comfyui = both_hosts
    standalone.nodes = NODES
    comfyui.executor.register(
        importlib.import_module("openltx_in_comfyui.nodes.host.comfyui").comfyui_extension().nodes
    )
    digests, steps = [], []
    for host, package in ((standalone, "openltx"), (comfyui, "openltx_in_comfyui")):
        seen: dict[str, str] = {}
        _listen(importlib.import_module(f"{package}.nodes.save"), seen, monkeypatch)
        outcome = host.run(prompt)
        assert outcome.ended == "success", outcome.error
        digests.append(seen)
        steps.append(_steps(host.output_folder))
    assert set(digests[0]) == {"frames", "waveform"}
    assert digests[0] == digests[1]
    assert [step["step"] for step in steps[0]] == ["sample", "decode video", "decode audio"]
    assert steps[0] == steps[1]


def _listen(save: Any, seen: dict[str, str], monkeypatch: Any) -> None:
    """Note what the save node hands to the writer."""
    write = save.write_av

    def listening(path: Any, frames: Any, *, waveform: torch.Tensor, **options: Any) -> Any:
        chunks = list(frames)
        seen["frames"] = _digest(torch.cat(chunks))
        seen["waveform"] = _digest(waveform)
        return write(path, chunks, waveform=waveform, **options)

    monkeypatch.setattr(save, "write_av", listening)


def _steps(folder: Path) -> Any:
    """What the newest saved file says of its making."""
    newest = max(folder.rglob("*.mp4"), key=lambda path: path.stat().st_mtime_ns)
    return json.loads(read_tags(newest)["openltx"])["steps"]


def _digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()
