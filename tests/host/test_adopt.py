"""Adopted workflows in ComfyUI, and what they make beside ComfyUI's own run of the old ones."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

HERE = Path(__file__).resolve().parent


def _graphs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("adopt_graphs", HERE.parent / "adopt_graphs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GRAPHS = _graphs().GRAPHS
EQUAL = 1e-5
SAME = [
    "text_to_video", "distilled", "image_to_video", "image_at_part_strength", "two_stages", "gradient_estimation",
    "first_and_last", "ic_lora", "reference_voice", "audio_to_video", "masked_video", "ksampler", "simple_scheduler",
    "two_stages_ancestral",
]  # fmt: skip


@pytest.fixture
def registry() -> Any:
    from openltx.nodes.core import CORE_NODES
    from openltx.nodes.host.standalone.schema import registry_of
    from openltx.nodes.registry import NODES

    return registry_of([*NODES, *CORE_NODES])


@pytest.fixture(autouse=True)
def _inputs(comfyui_base: Path) -> None:
    """Core's loaders look into ComfyUI's input folder only."""
    for path in (HERE.parents[1] / "workflows" / "input").iterdir():
        (comfyui_base / "input").mkdir(exist_ok=True)
        shutil.copy(path, comfyui_base / "input")


def latents(found: Any) -> list[torch.Tensor]:
    samples = found["samples"]
    return list(samples.unbind()) if getattr(samples, "is_nested", False) else [samples]


@pytest.fixture(autouse=True)
def _guides_of_few_channels(graphs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Core's guide node takes published latents of 128 channels only; the embedded model's have 32."""
    node = importlib.import_module("nodes").NODE_CLASS_MAPPINGS["LTXVAddGuide"]
    append = node.append_keyframe

    def appended(cls: Any, *given: Any, **named: Any) -> Any:
        return append(*given, **{**named, "in_channels": 32})

    monkeypatch.setattr(node, "append_keyframe", classmethod(appended))


@pytest.mark.parametrize("name", SAME)
def test_the_latents_are_cores(graphs: Any, registry: Any, name: str) -> None:
    from openltx.adopt import read_workflow
    from openltx.adopt.check import check_of, difference

    check = check_of(read_workflow(_graphs().api(GRAPHS[name]()), name), registry, name=name)
    old = graphs.run(check.old, *(pair.old for pair in check.pairs))
    new = graphs.run(check.new.prompt, *(pair.new for pair in check.pairs))
    pairs = [(old, new)] if len(check.pairs) == 1 else zip(old, new, strict=True)
    differences = [difference(latents(one), latents(other)) for one, other in pairs]
    print(name, differences)
    assert max(differences) <= EQUAL
