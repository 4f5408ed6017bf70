"""The table "Patches by kind" in web/docs/interop.md: each kind put on our MODEL by hand, as other packs do."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

TABLE = Path(__file__).resolve().parents[2] / "web" / "docs" / "interop.md"
CALLS: list[str] = []


def table() -> dict[str, str]:
    """{kind: verdict}."""
    section = TABLE.read_text(encoding="utf-8").split("\n## Patches by kind")[1].split("\n## ")[0]
    lines = [line.split("|") for line in section.splitlines() if line.startswith("| ")]
    return {cells[1].strip(): cells[2].strip() for cells in lines if cells[1].strip() != "kind"}


def wrapper(model: Any) -> None:
    def wrapped(executor: Any, *arguments: Any, **options: Any) -> Any:
        CALLS.append("wrapper")
        return [member * 0.5 for member in executor(*arguments, **options)]

    kind = importlib.import_module("comfy.patcher_extension").WrappersMP.DIFFUSION_MODEL
    model.add_wrapper_with_key(kind, "test", wrapped)


def block_replacement(model: Any) -> None:
    def replaced(given: dict[str, Any], original: dict[str, Any]) -> Any:
        CALLS.append("block")
        video, audio = original["original_block"](given)["img"]
        return {"img": (video * 0.5, audio)}

    model.set_model_patch_replace(replaced, "dit", "double_block", 0)


def attention_replacement(model: Any) -> None:
    model.set_model_patch_replace(lambda *given, **options: CALLS.append("replacement"), "attn1", "double_block", 0)


def attention_patch(model: Any) -> None:
    model.set_model_attn1_patch(lambda *given, **options: CALLS.append("patch"))


def attention_override(model: Any) -> None:
    def override(function: Any, q: Any, k: Any, v: Any, heads: int, **how: Any) -> Any:
        CALLS.append("override")
        return function(q, k, v * 0.5, heads, **how)

    model.model_options["transformer_options"]["optimized_attention_override"] = override


def feed_forward(model: Any) -> None:
    layer = model.model.diffusion_model.transformer_blocks[0].ff

    def chunked(x: torch.Tensor) -> torch.Tensor:
        CALLS.append("feed-forward")
        return torch.cat([layer.net(part) * 0.5 for part in x.chunk(2, dim=1)], dim=1)

    model.add_object_patch("diffusion_model.transformer_blocks.0.ff.forward", chunked)


def attention_layer(model: Any) -> None:
    def other(*given: Any, **options: Any) -> None:
        CALLS.append("layer")

    model.add_object_patch("diffusion_model.transformer_blocks.0.attn2.forward", other)


KINDS: dict[str, Callable[[Any], None]] = {
    "wrapper of the diffusion model": wrapper,
    "block replacement": block_replacement,
    "attention replacement": attention_replacement,
    "attention patch": attention_patch,
    "attention override": attention_override,
    "feed-forward replaced": feed_forward,
    "attention layer replaced": attention_layer,
}


class Patched:
    """A node that puts one on a MODEL."""

    CATEGORY, FUNCTION, RETURN_TYPES = "test", "patch", ("MODEL",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802
        return {"required": {"model": ("MODEL",), "kind": ("STRING",)}}

    def patch(self, model: Any, kind: str) -> tuple[Any]:
        changed = model.clone()
        KINDS[kind](changed)
        return (changed,)


def test_every_row_has_a_patch() -> None:
    assert table().keys() == KINDS.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_kind(graphs: Any, side: Any, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    importlib.import_module("nodes").NODE_CLASS_MAPPINGS["Patched"] = Patched
    verdict = table()[kind]
    plain = graphs.run({**side.stage(), **side.cores(1.0)}, ("out", 0))["samples"].unbind()
    fresh = graphs.anew() if verdict == "no effect" else graphs  # it is told once a model
    CALLS.clear()
    graph = {**side.stage(), "patched": side.node("Patched", model=["load", 0], kind=kind)}
    with caplog.at_level(logging.WARNING):
        found = fresh.run({**graph, **side.cores(1.0, model="patched")}, ("out", 0))["samples"].unbind()
    changed = max(float((one - other).abs().max()) for one, other in zip(found, plain, strict=True)) > 1e-4
    assert changed == bool(CALLS) == (verdict == "works")
    assert ("have no effect on LTX-2 networks" in caplog.text) == (verdict == "no effect")
