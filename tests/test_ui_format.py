"""UI templates: made from the API files, consistent in themselves, and never stale."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from openltx.api import load_workflow, workflow_names
from openltx.nodes.help.recipes import RECIPES
from openltx.nodes.host.files import MODEL_ROLES
from openltx.nodes.host.standalone.inputs import link_of
from openltx.nodes.host.standalone.schema import registry_of
from openltx.nodes.registry import NODES
from openltx.nodes.templates import templates

REGISTRY = registry_of(NODES)
MADE = {path.stem: (path, text) for path, text in templates(REGISTRY).items()}


def test_every_recipe_has_its_template() -> None:
    assert sorted(MADE) == workflow_names() == sorted(RECIPES)
    for path, text in MADE.values():
        assert path.read_text(encoding="utf-8") == text, f"{path} is stale: run python -m openltx.nodes.templates"


@pytest.mark.parametrize("name", workflow_names())
def test_links_agree_in_three_places_and_nothing_is_lost(name: str) -> None:
    ui, api = json.loads(MADE[name][1]), load_workflow(name)
    nodes: dict[int, dict[str, Any]] = {node["id"]: node for node in ui["nodes"] if node["type"] != "MarkdownNote"}
    assert sorted(nodes) == sorted(map(int, api))
    for number, source, output, target, slot, io_type in ui["links"]:
        assert nodes[source]["outputs"][output]["type"] == io_type
        assert number in nodes[source]["outputs"][output]["links"]
        socket = nodes[target]["inputs"][slot]
        assert socket["link"] == number
        assert link_of(api[str(target)]["inputs"][socket["name"]]) is not None
    linked = sum(link_of(value) is not None for node in api.values() for value in node["inputs"].values())
    assert linked == len(ui["links"])
    for node_id, entry in api.items():
        values = [value for value in entry["inputs"].values() if link_of(value) is None]
        shown = nodes[int(node_id)]["widgets_values"]
        assert all(value in shown for value in values)


def test_nodes_do_not_lie_on_each_other() -> None:
    for _, text in MADE.values():
        boxes = [(*node["pos"], *node["size"]) for node in json.loads(text)["nodes"]]
        for index, (x, y, w, h) in enumerate(boxes):
            for other_x, other_y, other_w, other_h in boxes[:index]:
                apart = x + w <= other_x or other_x + other_w <= x or y + h <= other_y or other_y + other_h <= y
                assert apart


@pytest.mark.parametrize("name", workflow_names())
def test_a_note_and_groups_from_left_to_right(name: str) -> None:
    """Every node but the note is inside one group; links lead to the right, or within a column's group."""
    ui = json.loads(MADE[name][1])
    note = ui["nodes"].pop()
    assert note["type"] == "MarkdownNote"
    assert RECIPES[name] in note["widgets_values"][0]
    boxes = [group["bounding"] for group in ui["groups"]]
    assert all(a[0] + a[2] < b[0] for a, b in pairwise(boxes))
    assert len({group["title"] for group in ui["groups"]}) == len(boxes) >= 3
    assert note["pos"][0] + note["size"][0] < boxes[0][0]
    for node in ui["nodes"]:
        (x, y), (w, h) = node["pos"], node["size"]
        inside = [a for a in boxes if a[0] < x and a[1] < y and x + w < a[0] + a[2] and y + h < a[1] + a[3]]
        assert len(inside) == 1
    places = {node["id"]: node["pos"][0] for node in ui["nodes"]}
    assert all(places[source] < places[target] for _, source, _, target, *_ in ui["links"])


def test_every_file_that_is_not_ours_says_where_to_get_it() -> None:
    found = 0
    for _, text in MADE.values():
        for node in json.loads(text)["nodes"]:
            models = node["properties"].get("models", [])
            named = [value for value in node["widgets_values"] if str(value).endswith((".safetensors", ".gguf"))]
            assert [model["name"] for model in models] == [name for name in named if not name.startswith("openltx-")]
            for model in models:
                assert model["url"].startswith("https://huggingface.co/")
                assert model["url"].endswith("/" + model["name"])
                assert model["directory"] in MODEL_ROLES
            found += len(models)
    assert found > 10
