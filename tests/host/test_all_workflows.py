"""Every API workflow gives bit-equal latents in the standalone host and in ComfyUI, on the embedded model."""

from __future__ import annotations

import hashlib
import importlib
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from openltx.api import load_workflow, workflow_names
from openltx.nodes.core import CORE_NODES
from openltx.nodes.host.files import SAMPLE_INPUTS
from openltx.nodes.host.standalone.workflow import exposed_inputs
from openltx.nodes.registry import NODES
from openltx.tests import small_workflows as small


@pytest.fixture(scope="module")
def inputs(comfyui_base: Path) -> Path:
    """ComfyUI's folders with the media and models that the workflows name; that of the media."""
    folder = comfyui_base / "input"
    shutil.copytree(SAMPLE_INPUTS, folder, dirs_exist_ok=True)
    small.make_models(comfyui_base / "models")
    made: Path = small.make_media(folder)
    return made


@pytest.mark.parametrize("name", [name for name in workflow_names() if name != "shots_plan"])  # it renders nothing
def test_the_same_latents_in_both_hosts(
    both_hosts: tuple[Any, Any], graphs: Any, inputs: Path, name: str, monkeypatch: Any, tmp_path: Path
) -> None:
    prompt = load_workflow(name)
    values = small.small_inputs(name, inputs)
    for option, place in exposed_inputs(prompt).items():
        if option in values:
            value = values[option]
            prompt[place.node_id]["inputs"][place.input] = value.name if isinstance(value, Path) else value
    standalone, comfyui = both_hosts
    standalone.nodes, standalone.models_folder = [*NODES, *CORE_NODES], comfyui.models_folder
    standalone.input_folder = inputs
    comfyui.add(importlib.import_module("openltx_in_comfyui.nodes.host.comfyui").comfyui_extension().nodes)
    found = []
    for host in (standalone, comfyui):
        seen: list[tuple[str, str]] = []
        monkeypatch.setenv("OPENLTX_CACHE", str(tmp_path / host.name))
        for node in importlib.import_module(f"{host.package}.nodes.registry").NODES:
            _listen(node, seen, monkeypatch)
        outcome = host.run(prompt)
        assert outcome.ended == "success", f"{host.name}: {outcome.error}"
        kept = [_file_digest(path) for path in (tmp_path / host.name).rglob("*.safetensors")]  # of shot lists
        found.append(sorted([*seen, *(("kept", digest) for digest in kept)]))  # hosts may run branches in another order
        monkeypatch.undo()
    assert len(found[0]) >= 2
    assert found[0] == found[1]


def _file_digest(path: Path) -> str:
    """Of the tensors alone: the order of a file's header may vary."""
    tensors = sorted(load_file(path).items())
    return hashlib.sha256(b"".join(name.encode() + value.numpy().tobytes() for name, value in tensors)).hexdigest()


def _listen(node: type[Any], seen: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Note the latents that a node gives, by its id."""
    schema = node.define_schema()
    places = [place for place, output in enumerate(schema.outputs) if output.io_type == "LATENT"]
    if not places:
        return
    execute: Any = node.execute.__func__

    def listening(cls: type[Any], /, *given: Any, **inputs: Any) -> Any:
        output = execute(cls, *given, **inputs)
        seen.extend((schema.node_id, _digest(output.args[place])) for place in places if output.args[place] is not None)
        return output

    monkeypatch.setattr(node, "execute", classmethod(listening))


def _digest(latent: dict[str, Any]) -> str:
    """Of all numbers of a LATENT, each with its shape and dtype."""
    samples = latent["samples"]
    members = samples.unbind() if getattr(samples, "is_nested", False) else [samples]
    whole = hashlib.sha256()
    for member in members:
        assert bool(torch.isfinite(member).all())
        whole.update(repr((tuple(member.shape), member.dtype)).encode())
        whole.update(member.numpy().tobytes())
    return whole.hexdigest()
