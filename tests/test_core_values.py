"""Core's nodes on numbers, choices, texts, edges and parts of clips, in the built-in host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from openltx.media.av_writer import Encoding, write_av
from openltx.nodes.arithmetic import result_of
from openltx.nodes.core import CORE_NODES, VideoFile, VideoSlice
from openltx.nodes.core_edges import Canny, edges
from openltx.nodes.core_values import ComfyMathExpression, ComfySwitchNode, RegexExtract
from openltx.nodes.host.standalone import executor
from openltx.nodes.host.standalone.schema import registry_of
from openltx.nodes.host.standalone.ui_format import ui_workflow


@pytest.mark.parametrize(("formula", "expected"), [
    ("a * 8 + 1", 25), ("(a + b) // 2", 3), ("ceil(a / 2) * 32", 64), ("a if a > b else b", 4), ("2 ** a", 8.0),
    ("max(a, b) and not (a == b)", True), ("round(a / 7, 2)", 0.43), ("-a % b", 1), ("sum(a, b)", 7),
])  # fmt: skip
def test_formulas(formula: str, expected: Any) -> None:
    assert result_of(formula, {"a": 3, "b": 4}) == expected


@pytest.mark.parametrize("formula", [
    "__import__('os')", "a.real", "[a]", "a +", "c", "9 ** 9 ** 9", "*".join(["1" * 200] * 9), "'x' * 9", "1 / 0",
    "round(a, 10 ** 9) * 1e301", "lambda: 1", "(" * 300 + "1" + ")" * 300, "-" * 1999 + "1", "1" * 5000, "max()",
    "int(1e308 * 10)", "pow(10, 400)", "\x00",
])  # fmt: skip
def test_anything_else_is_one_line(formula: str) -> None:
    with pytest.raises(ValueError, match="expected") as found:
        result_of(formula, {"a": 3})
    assert "\n" not in str(found.value)


def test_numbers_and_choices_in_a_workflow() -> None:
    """Sockets that multiply by name, as files of ComfyUI have them."""
    prompt = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 96, "height": 64, "batch_size": 1, "color": 0}},
        "2": {"class_type": "GetImageSize", "inputs": {"image": ["1", 0]}},
        "3": {
            "class_type": "ComfyMathExpression",
            "inputs": {"expression": "a > b", "values.a": ["2", 0], "values.b": 80},
        },
        "4": {
            "class_type": "ComfySwitchNode",
            "inputs": {"switch": ["3", 2], "on_false": ["2", 0], "on_true": ["2", 1]},
        },
        "5": {"class_type": "PreviewAny", "inputs": {"source": ["4", 0]}},
    }
    prompt = {name: {**entry, "_meta": {"title": name}} for name, entry in prompt.items()}
    registry = registry_of(CORE_NODES)
    assert "64" in str(executor.run(prompt, registry)["5"].ui)
    sockets = ui_workflow(prompt, registry, name="numbers")["nodes"][2]["inputs"]
    assert [socket["name"] for socket in sockets if "widget" not in socket] == ["values.a", "values.b"]
    assert ComfyMathExpression.execute("a / 2", {"a": 5}).args == (2.5, 2, True)
    assert ComfySwitchNode.execute(True, 1, 2).args == (2,)


def test_a_choice_with_values_of_its_own_is_laid_out_as_a_form_has_it() -> None:
    """The choice, then its values, as the front end reads them: by position."""
    given = {"input": ["1", 0], "resize_type": "scale longer dimension", "resize_type.longer_size": 64}
    prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
        "2": {"class_type": "ResizeImageMaskNode", "inputs": {**given, "scale_method": "area"}},
    }
    node = ui_workflow(prompt, registry_of(CORE_NODES), name="sizes")["nodes"][1]
    assert node["widgets_values"] == ["scale longer dimension", 64, "area"]
    assert [socket["name"] for socket in node["inputs"] if "widget" not in socket] == ["input"]


@pytest.mark.parametrize(("mode", "pattern", "group", "expected"), [
    ("First Match", r"\d+", 1, "12"), ("All Matches", r"\d+", 1, "12\n345"), ("All Matches", r"(\d)\d*", 1, "1\n3"),
    ("First Group", r"(\d)(\d)", 2, "2"), ("All Groups", r"(\d)(\d)", 2, "2\n4"), ("First Group", r"\d", 1, ""),
    ("All Groups", r"\d", 0, ""), ("First Match", "(", 1, ""), ("First Match", "B", 1, "b"),
])  # fmt: skip
def test_parts_of_a_text(mode: str, pattern: str, group: int, expected: str) -> None:
    flags = {"case_insensitive": True, "multiline": False, "dotall": False}
    given: dict[str, Any] = {
        "string": "a12 b345",
        "regex_pattern": pattern,
        "mode": mode,
        "group_index": group,
        **flags,
    }
    assert RegexExtract.execute(**given).args == (expected,)


def test_edges_of_a_square() -> None:
    """Its outline, nothing inside; a faint one counts where it touches a clear one."""
    picture = torch.zeros(1, 24, 24, 3)
    picture[:, 8:16, 8:16] = 1
    found = edges(picture, 0.1, 0.2)[0]
    assert (found[8:16, 7] + found[8:16, 8]).all()
    assert found[10:14, 10:14].sum() == 0
    assert found[:5].sum() == 0
    picture[:, 8:16, 8:16] = torch.linspace(0.2, 1, 8).view(8, 1, 1)  # brighter from row to row
    assert 0 < edges(picture, 1.9, 2.0).sum() < edges(picture, 0.5, 2.0).sum()
    assert Canny.execute(picture, 0.4, 0.8).args[0].shape == picture.shape


def test_some_seconds_of_a_clip(tmp_path: Path) -> None:
    frames = torch.arange(8).view(8, 1, 1, 1).expand(8, 64, 64, 3) / 8
    sound = torch.linspace(-0.5, 0.5, 16000).expand(2, -1)
    path = tmp_path / "a.mp4"
    write_av(path, iter([frames]), frame_rate=8.0, waveform=sound, sample_rate=16000, encoding=Encoding())
    (cut,) = VideoSlice.execute(VideoFile(path), 0.25, 0.5, True).args
    found = cut.get_components()
    assert len(found.images) == 4
    assert (found.images.mean((1, 2, 3)) - torch.tensor([2, 3, 4, 5]) / 8).abs().max() < 0.05
    assert found.audio["waveform"].shape[-1] == 8000
    (end,) = VideoSlice.execute(VideoFile(path), -0.25, 0.0, False).args
    assert len(end.get_components().images) == 2
    with pytest.raises(ValueError, match=r"expected 2 s from 0.5 s on, found 0.5 s"):
        VideoSlice.execute(VideoFile(path), 0.5, 2.0, True)
