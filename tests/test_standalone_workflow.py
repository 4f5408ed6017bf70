"""Workflow files: what cannot be read says so in one line; inputs are set by name."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from openltx.nodes.host import files
from openltx.nodes.host.standalone import io
from openltx.nodes.host.standalone.schema import registry_of
from openltx.nodes.host.standalone.workflow import exposed_inputs, read_workflow, set_input


class Sample(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        mode = io.DynamicCombo.Input("mode", options=[io.DynamicCombo.Option("m", [io.Float.Input("gain")])])
        inputs = [
            io.Model.Input("model"),
            io.Int.Input("noise_seed"),
            io.String.Input("text"),
            io.Boolean.Input("flag"),
            io.Combo.Input("size", options=[1, 2]),
            io.Combo.Input("name", options=["a", "b"]),
            mode,
        ]
        return io.Schema(node_id="Sample", inputs=inputs, is_output_node=True)


REGISTRY = registry_of([Sample])
EXPOSE = {"seed": "noise_seed", "prompt": "text"}


@pytest.fixture
def prompt() -> dict[str, Any]:
    inputs = {"model": ["9", 0], "noise_seed": 4, "text": "t", "flag": True, "size": 1, "mode": "m", "mode.gain": 1.0}
    titled = {"class_type": "Sample", "inputs": inputs, "_meta": {"title": "Sampler v1.0", "expose": EXPOSE}}
    return {
        "3": titled,
        "4": {"class_type": "Sample", "inputs": {}, "_meta": {"title": "same"}},
        "5": titled | {"_meta": {"title": "same"}},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected JSON: "),
        ("[]", "expected a workflow in API format"),
        ("{}", "expected a workflow in API format"),
        ('{"nodes": [], "links": []}', "expected API format, found UI format"),
        ('{"1": {"inputs": {}}}', "node 1: expected an object with class_type, found only inputs"),
        ('{"1": 5}', "node 1: expected an object with class_type, found 5"),
        ('{"1": {"class_type": "A"}}', r"node 1 \(A\): expected an object of inputs, found only class_type"),
    ],
)
def test_unreadable_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "w.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"w\.json: {message}") as caught:
        read_workflow(path)
    assert "\n" not in str(caught.value)


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a readable workflow file: No such file"):
        read_workflow(tmp_path / "none.json")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="b.json: expected JSON"):
        read_workflow(tmp_path / "b.json")


def test_exposed_inputs(prompt: dict[str, Any]) -> None:
    found = exposed_inputs(prompt)
    assert [(option.option, option.node_id, option.input, option.value) for option in found.values()] == [
        ("seed", "3", "noise_seed", 4),
        ("prompt", "3", "text", "t"),
    ]


def test_exposed_twice_or_wrongly(prompt: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="option 'seed': exposed by node 3 and by node 6; rename one"):
        exposed_inputs({**prompt, "6": prompt["3"]})
    for name in ("sed", "model"):
        prompt["3"]["_meta"]["expose"] = {"seed": name}
        with pytest.raises(ValueError, match=f"expected one of its values noise_seed, text, .*, found '{name}'"):
            exposed_inputs(prompt)
    prompt["3"]["_meta"]["expose"] = EXPOSE


@pytest.mark.parametrize(
    ("target", "text", "value"),
    [
        ("3.noise_seed", "12", 12),
        ("Sampler v1.0.noise_seed", "12", 12),
        ("3.text", "12", "12"),
        ("3.flag", "off", False),
        ("3.size", "2", 2),
        ("3.name", "2", "2"),
        ("3.mode.gain", "0.5", 0.5),
    ],
)
def test_set_input(prompt: dict[str, Any], target: str, text: str, value: Any) -> None:
    changed = set_input(prompt, target, text, REGISTRY)
    name = target.removeprefix("Sampler v1.0.").removeprefix("3.")
    assert changed["3"]["inputs"][name] == value
    assert type(changed["3"]["inputs"][name]) is type(value)
    assert prompt["3"]["inputs"].get(name) != value


@pytest.mark.parametrize(
    ("target", "text", "message"),
    [
        ("7.text", "x", r"expected NODE.INPUT with a node out of 3 \(Sampler v1.0\), 4 \(same\), 5 \(same\)"),
        ("text", "x", "expected NODE.INPUT"),
        ("same.text", "x", "the title 'same' belongs to nodes 4, 5; use the id"),
        ("3.seed", "1", "expected an input out of noise_seed, text, flag, size, name, mode, mode.gain, found 'seed'"),
        ("3.model", "x", "expected an input out of noise_seed"),
        ("3.noise_seed", "many", "expected INT, found 'many'"),
        ("3.flag", "maybe", "expected true or false, found 'maybe'"),
    ],
)
def test_refused_settings(prompt: dict[str, Any], target: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        set_input(prompt, target, text, REGISTRY)


def test_next_output_name(tmp_path: Path) -> None:
    now = time.struct_time((2026, 3, 4, 5, 6, 7, 0, 0, 0))
    for taken in ("x_00007_.mp4", "x_00009_.wav", "x_y_00020_.mp4", "xx_00030_.mp4", "x_.mp4"):
        (tmp_path / taken).touch()
    assert files.next_output(tmp_path, "x", ".mp4").filename == "x_00010_.mp4"
    dated = files.next_output(tmp_path, "%year%-%month%-%day%/%hour%%minute%%second%", ".png", now=now)
    assert (dated.subfolder, dated.filename) == ("2026-03-04", "050607_00001_.png")
    assert dated.ui_entry() == {"filename": "050607_00001_.png", "subfolder": "2026-03-04", "type": "output"}
    for prefix in ("../x", "", ".", "a/..", str(tmp_path / "x")):
        with pytest.raises(ValueError, match="filename prefix: expected a name inside"):
            files.next_output(tmp_path, prefix, ".mp4")
