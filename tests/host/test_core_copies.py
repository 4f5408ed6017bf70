"""The built-in host's copies of core's nodes give what ComfyUI's own give."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch

FLAGS = {"case_insensitive": True, "multiline": False, "dotall": False}


@pytest.fixture
def pair(graphs: Any) -> Any:
    """Both classes of a node id."""
    from openltx.nodes.core import CORE_NODES
    from openltx.nodes.host.standalone.schema import registry_of

    own, theirs = registry_of(CORE_NODES), importlib.import_module("nodes").NODE_CLASS_MAPPINGS
    return lambda name: (own[name], theirs[name])


@pytest.mark.parametrize(("low", "high"), [(0.05, 0.4), (0.4, 0.8), (0.01, 0.05)])
def test_edges(pair: Any, low: float, high: float) -> None:
    ours, theirs = pair("Canny")
    small = torch.rand(2, 3, 9, 9, generator=torch.Generator().manual_seed(3))
    pictures = torch.nn.functional.interpolate(small, size=(40, 56), mode="bicubic").clamp(0, 1).movedim(1, -1)
    assert torch.equal(ours.execute(pictures, low, high).args[0], theirs.execute(pictures, low, high).args[0])


@pytest.mark.parametrize("crf", [0, 18, 35, 60])
def test_pictures_through_h264(pair: Any, crf: int) -> None:
    ours, theirs = pair("LTXVPreprocess")
    pictures = torch.rand(2, 33, 48, 3, generator=torch.Generator().manual_seed(3))
    assert torch.equal(ours.execute(pictures, crf).args[0], theirs.execute(pictures, crf).args[0])


@pytest.mark.parametrize("mode", ["First Match", "All Matches", "First Group", "All Groups"])
@pytest.mark.parametrize("pattern", [r"\d+", r"(\d)\d*", r"(\d)(x)?", "(", "none"])
def test_parts_of_a_text(pair: Any, mode: str, pattern: str) -> None:
    ours, theirs = pair("RegexExtract")
    for group in (0, 1):
        given = {"string": "a12 b345", "regex_pattern": pattern, "mode": mode, "group_index": group, **FLAGS}
        assert ours.execute(**given).args == theirs.execute(**given).args, given


@pytest.mark.parametrize(
    "formula", ["a * 8 + 1", "(a + b) // 2", "ceil(a / 2) * 32", "a if a > b else b", "round(a / 7, 2)"]
)
def test_formulas(pair: Any, formula: str) -> None:
    ours, theirs = pair("ComfyMathExpression")
    values = {"a": 97, "b": 4}
    assert ours.execute(formula, values).args == theirs.execute(formula, values).args
