"""Saved workflows keep working: ids, inputs, their order, types and defaults, and outputs are as recorded."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from openltx.nodes.host.replaced import Replacement
from openltx.nodes.host.standalone.schema import registry_of
from openltx.nodes.registry import NODES
from openltx.nodes.surface import RECORD, breaks, surface, text_of

PRESENT = surface(registry_of(NODES))
Node = dict[str, Any]


def _entry(name: str, **rest: Any) -> Node:
    return {"id": name, "type": "INT", "default": 1, "socket": False, "control_after_generate": False, **rest}


RECORDED: dict[str, Node] = {
    "N": {
        "required": [_entry("a"), _entry("b", type="COMBO", default="x", options=["x", "y"])],
        "optional": [_entry("c")],
        "outputs": [{"id": "o", "type": "LATENT"}],
    }
}


def test_nothing_that_saved_workflows_rely_on_has_changed() -> None:
    assert breaks(json.loads(RECORD.read_text(encoding="utf-8")), PRESENT) == []


def test_every_node_is_recorded() -> None:
    assert RECORD.read_text(encoding="utf-8") == text_of(PRESENT), "run python -m openltx.nodes.surface"


CHANGES: dict[str, Callable[[Node], Any]] = {
    "an input is gone": lambda node: node["required"].pop(0),
    "an input has another name": lambda node: node["required"][0].update(id="z"),
    "two inputs are swapped": lambda node: node["required"].reverse(),
    "another type": lambda node: node["optional"][0].update(type="FLOAT"),
    "another default": lambda node: node["optional"][0].update(default=2),
    "a widget became a socket": lambda node: node["optional"][0].update(socket=True),
    "a seed's control was added": lambda node: node["required"][0].update(control_after_generate=True),
    "an option is gone": lambda node: node["required"][1].update(options=["x"]),
    "a new required input": lambda node: node["required"].append(_entry("d")),
    "a new optional input in front": lambda node: node["optional"].insert(0, _entry("d")),
    "an output is gone": lambda node: node["outputs"].pop(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_breaks_a_saved_workflow_is_named(change: str) -> None:
    present = copy.deepcopy(RECORDED)
    CHANGES[change](present["N"])
    (line, *_) = breaks(RECORDED, present)
    assert line.startswith("N: ")


def test_a_node_that_is_gone_is_named() -> None:
    (line,) = breaks(RECORDED, {})
    assert line.startswith("N: expected a node with this id, found none")


def test_a_node_that_is_gone_breaks_nothing_where_another_replaces_it() -> None:
    table = (Replacement(old="N", new="M"),)
    assert breaks(RECORDED, {"M": RECORDED["N"]}, table) == []
    assert breaks(RECORDED, {}, table) != []


def test_additions_at_the_end_break_nothing() -> None:
    present = copy.deepcopy(RECORDED)
    present["N"]["optional"].append(_entry("d"))
    present["N"]["outputs"].append({"id": "p", "type": "INT"})
    present["N"]["required"][1]["options"].append("z")
    present["M"] = RECORDED["N"]
    assert breaks(RECORDED, present) == []
