"""Validation: what it says, and that it says everything at once. What both hosts share is in tests/host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from openltx.nodes.host.standalone import io
from openltx.nodes.host.standalone.errors import WorkflowError
from openltx.nodes.host.standalone.runtime import model_files
from openltx.nodes.host.standalone.schema import registry_of
from openltx.nodes.host.standalone.settings import Settings, use
from openltx.nodes.host.standalone.validate import validate


class Number(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs = [io.Int.Input("value", min=0, max=10), io.Boolean.Input("flag", optional=True)]
        return io.Schema(node_id="Number", inputs=[*inputs], outputs=[io.Int.Output()])


class Show(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        mode = io.DynamicCombo.Input("mode", options=[io.DynamicCombo.Option("a", [])], optional=True)
        size = io.Combo.Input("size", options=[1, 2], optional=True)
        inputs = [io.Int.Input("number", force_input=True), io.Model.Input("model", optional=True), size, mode]
        return io.Schema(node_id="Show", inputs=[*inputs], is_output_node=True)


REGISTRY = registry_of([Number, Show])


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": f"my {class_type}"}}


def test_all_problems_at_once() -> None:
    report = validate(
        {"1": node("Number", value=11), "2": node("Show", number=["1", 3], model="m", size="1")}, REGISTRY
    )
    assert report.problems == [
        "node 1 (Number, 'my Number'), input 'value': expected INT from 0 up to 10, found 11",
        "node 2 (Show, 'my Show'), input 'number': expected a link to one of the 1 outputs of "
        "node 1 (Number, 'my Number'), found ['1', 3]",
        "node 2 (Show, 'my Show'), input 'model': expected a link to MODEL, found 'm'",
        "node 2 (Show, 'my Show'), input 'size': expected one of 1, 2, found '1'",
    ]
    with pytest.raises(WorkflowError, match="\n"):
        report.raise_problems()


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("text", "node 1: expected an object with class_type and inputs, found 'text'"),
        ({"inputs": {}}, "node 1: expected a class_type, found None"),
        ({"class_type": "Show"}, "node 1 (Show): expected an object of inputs, found None"),
        (
            {"class_type": "Shaw", "inputs": {}, "_meta": {"title": "t"}},
            "node 1 (Shaw, 't'): expected a known node type, found 'Shaw'; did you mean Show?",
        ),
        (
            {"class_type": "Else", "inputs": {}},
            "node 1 (Else): expected a known node type, found 'Else'; it is not part of OpenLTX's own host",
        ),
    ],
)
def test_malformed_entries(entry: Any, problem: str) -> None:
    assert validate({"1": entry}, REGISTRY).problems == [problem]


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({}, "input 'number': expected a value of type INT, found nothing"),
        ({"number": ["9", 0]}, "input 'number': expected a link to a node of this workflow, found ['9', 0]"),
        ({"number": ["1", -1]}, 'expected a link ["node id", output number]'),
        ({"number": 1, "model": ["1", 0]}, "expected MODEL, linked is INT of node 1 (Number, 'my Number')"),
        ({"number": 1, "mode": "b"}, "input 'mode': expected one of 'a', found 'b'"),
        ({"number": 1, "mode": ["1", 0]}, "input 'mode': expected an option"),
    ],
)
def test_messages(inputs: dict[str, Any], text: str) -> None:
    (problem,) = validate({"1": node("Number", value=1), "2": node("Show", **inputs)}, REGISTRY).problems
    assert text in problem


def test_only_what_is_needed_is_checked() -> None:
    report = validate({"1": node("Number", value=99), "2": node("Show", number=1)}, REGISTRY)
    assert (report.problems, report.order) == ([], ("2",))


def test_warnings() -> None:
    prompt = {"1": node("Number", value=4.7, flag="false"), "2": node("Show", number=["1", 0], numbr=1)}
    assert validate(prompt, REGISTRY).warnings == [
        "node 1 (Number, 'my Number'), input 'value': 4.7 is taken as 4",
        "node 1 (Number, 'my Number'), input 'flag': 'false' is taken as True",
        "node 2 (Show, 'my Show'), input 'numbr': unknown, ignored; did you mean 'number'?",
    ]


def test_long_lists_of_options_are_cut() -> None:
    class Many(io.ComfyNode):
        @classmethod
        def define_schema(cls) -> io.Schema:
            choice = io.Combo.Input("name", options=[f"file{index}" for index in range(50)])
            return io.Schema(node_id="Many", inputs=[choice], is_output_node=True)

    (problem,) = validate({"1": node("Many", name="x")}, registry_of([Many])).problems
    assert "'file19' … (50 in all), found 'x'" in problem


def test_missing_model_files_say_where_they_belong(tmp_path: Path) -> None:
    class Loader(io.ComfyNode):
        @classmethod
        def define_schema(cls) -> io.Schema:
            choice = io.Combo.Input("file", options=model_files("vae"))
            return io.Schema(node_id="Loader", inputs=[choice], is_output_node=True)

    registry, prompt = registry_of([Loader]), {"1": node("Loader", file="none.safetensors")}
    with use(Settings(model_folders={"vae": [Path("some/folder")]})):
        (problem,) = validate(prompt, registry).problems
    assert "expected one of (none there) or the path of a file (folders: some/folder), found 'none.saf" in problem
    (tmp_path / "mine.safetensors").touch()
    assert not validate({"1": node("Loader", file=str(tmp_path / "mine.safetensors"))}, registry).problems
