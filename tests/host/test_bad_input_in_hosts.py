"""What users get wrong, in both hosts: one line, on the node, before anything heavy runs.

Parts and latents of two generations: test_mixed_generations.py; wrong encoders: test_wrong_files.py.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

TINY = "openltx-tiny-2.3.safetensors"
OTHER_FAMILY = {"first_stage_model.decoder.conv_in.weight": torch.zeros(4, 4, 3, 3)}


@pytest.fixture
def ours(host: Any) -> Any:
    """A host with our own nodes."""
    host.add(importlib.import_module(f"{host.package}.nodes.registry").NODES)
    return host


def entry(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": class_type}}


def show(node: str, output: int = 0) -> dict[str, Any]:
    return entry("ToyShow", value=[node, output])


def refused(host: Any, graph: dict[str, Any], ended: str = "failed") -> str:
    outcome = host.run(graph)
    assert outcome.ended == ended, outcome
    return str(outcome.error).strip()


def sampled() -> dict[str, Any]:
    """The embedded model, sampled in one step."""
    links: dict[str, Any] = {"model": ["load", 0], "positive": ["text", 0], "sigmas": ["sigmas", 0]}
    settings = {"noise_seed": 1, "video_cfg": 1.0, "audio_cfg": 1.0}
    return {
        "load": entry("OpenLTXLoadModel", checkpoint=TINY, text_encoder="inside the checkpoint", dtype="float32"),
        "text": entry("OpenLTXEncodePrompt", text_encoder=["load", 1], text="a ball"),
        "sigmas": entry("OpenLTXNamedSchedule", schedule="manual", steps=1, values="1.0, 0.0"),
        "sample": entry("OpenLTXSample", latent=["latent", 0], **links, **settings),
        "show": show("sample"),
    }


class Gone:
    """An optional package that is not there, whatever is installed."""

    def __init__(self, name: str) -> None:
        self.name = name

    def find_spec(self, name: str, *others: Any) -> None:
        if name == self.name:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.fixture
def without_openexr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "OpenEXR", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Gone("OpenEXR"), *sys.meta_path])


def test_a_missing_package_stops_the_nodes_that_need_it_alone(ours: Any, without_openexr: None) -> None:
    still = ours.models_folder.parent / "input" / "still.exr"
    still.parent.mkdir(parents=True, exist_ok=True)
    still.write_bytes(b"any")
    try:
        graph = {"load": entry("OpenLTXLoadEXR", source=still.name, first=0, frames=0), "show": show("load")}
        error = refused(ours, graph)
        assert "EXR: the OpenEXR package is missing; pip install 'openltx[exr]'" in error
        assert refused(ours, {"load": sampled()["load"], "show": show("load")}, "success") == ""
    finally:
        still.unlink()


@pytest.mark.parametrize("channels", [128, 16])
def test_a_latent_of_another_model(ours: Any, channels: int) -> None:
    ours.add([latent_node(ours, torch.zeros(1, channels, 2, 2, 2))])
    error = refused(ours, {**sampled(), "latent": entry("ToyGivenLatent")})
    assert f"latent: expected 32 video channels, as {TINY} has, found {channels}; it belongs to another model" in error


def latent_node(host: Any, samples: torch.Tensor) -> type[Any]:
    """A node of this host that gives a LATENT."""
    io = importlib.import_module(f"{host.package}.nodes.host.api").io

    class ToyGivenLatent(io.ComfyNode):  # type: ignore[misc,name-defined]
        @classmethod
        def define_schema(cls) -> Any:
            return io.Schema(node_id="ToyGivenLatent", inputs=[], outputs=[io.Latent.Output("latent")])

        @classmethod
        def execute(cls) -> Any:
            return io.NodeOutput({"samples": samples, "frame_rate": 24.0})

    return ToyGivenLatent


def placed(host: Any, role: str, name: str, tensors: dict[str, torch.Tensor]) -> Path:
    path: Path = host.models_folder / role / name
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path)
    return path


def test_a_vae_of_another_family(ours: Any) -> None:
    path = placed(ours, "vae", "another.safetensors", OTHER_FAMILY)
    try:
        loader = entry("OpenLTXLoadVAE", video_vae=path.name, audio_vae=path.name, dtype="float32")
        error = refused(ours, {"load": loader, "show": show("load")})
    finally:
        path.unlink()
    assert "another.safetensors: expected" in error
    assert "\n" not in error


def test_a_file_that_vanished_since_the_list_was_made(ours: Any) -> None:
    """Named before the run, and by the node where it goes between the check and the node."""
    path = placed(ours, "vae", "soon_gone.safetensors", OTHER_FAMILY)
    loader = entry("OpenLTXLoadVAE", video_vae=path.name, audio_vae=path.name, dtype="float32")
    path.unlink()
    error = refused(ours, {"load": loader, "show": show("load")}, "refused")
    assert "soon_gone.safetensors" in error
    input_folder = ours.models_folder.parent / "input"
    input_folder.mkdir(parents=True, exist_ok=True)
    still = input_folder / "going.exr"
    still.write_bytes(b"any")
    ours.add([remover(ours, still)])
    graph = {"load": entry("OpenLTXLoadEXR", source=still.name, first=["remove", 0], frames=0), "show": show("load")}
    error = refused(ours, {**graph, "remove": entry("ToyRemove")})
    assert "going.exr" in error


def remover(host: Any, path: Path) -> type[Any]:
    """A node that takes a file away before the node that reads it runs."""
    io = importlib.import_module(f"{host.package}.nodes.host.api").io

    class ToyRemove(io.ComfyNode):  # type: ignore[misc,name-defined]
        @classmethod
        def define_schema(cls) -> Any:
            return io.Schema(node_id="ToyRemove", inputs=[], outputs=[io.Int.Output("number")])

        @classmethod
        def execute(cls) -> Any:
            path.unlink()
            return io.NodeOutput(0)

    return ToyRemove


def test_a_workflow_of_an_older_version(ours: Any) -> None:
    """Inputs that came later are missing, one that has gone is there: it runs. A node that has gone is named."""
    graph = sampled()
    graph["latent"] = entry("OpenLTXEmptyAVLatent", model=["load", 0], width=64, height=64, frames=9, frame_rate=24.0)
    graph["load"]["inputs"]["gone"] = 3
    assert refused(ours, graph, "success") == ""
    graph["latent"]["class_type"] = "OpenLTXEmptyLatentOfOld"
    assert "OpenLTXEmptyLatentOfOld" in refused(ours, graph, "refused")
