"""UI templates: made from the API files, consistent in themselves, and never stale."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from openltx.api import load_workflow, workflow_names
from openltx.nodes.core import CORE_NODES
from openltx.nodes.help.recipes import RECIPES
from openltx.nodes.host.files import MODEL_ROLES
from openltx.nodes.host.standalone.inputs import link_of
from openltx.nodes.host.standalone.schema import registry_of
from openltx.nodes.host.standalone.ui_format import ui_workflow
from openltx.nodes.host.standalone.workflow import exposed_inputs
from openltx.nodes.registry import NODES
from openltx.nodes.templates import templates

REGISTRY = registry_of(NODES)
MADE = {path.stem: (path, text) for path, text in templates(REGISTRY).items()}


def test_every_recipe_has_its_template() -> None:
    assert sorted(MADE) == workflow_names() == sorted(RECIPES)
    for path, text in MADE.values():
        assert path.read_text(encoding="utf-8") == text, f"{path} is stale: run python -m openltx.nodes.templates"


def canvases(ui: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The canvas of the workflow (at "") and those of its stages, by what the API file has before their nodes' ids."""
    stages = {entry["id"]: entry for entry in ui.get("definitions", {}).get("subgraphs", [])}
    found, waiting = {}, {"": ui}
    while waiting:
        prefix, canvas = waiting.popitem()
        found[prefix] = canvas
        waiting |= {
            f"{prefix}{node['id']}:": stages[node["type"]] for node in canvas["nodes"] if node["type"] in stages
        }
    return found


def links_of(canvas: dict[str, Any]) -> list[tuple[int, int, int, int, int, str]]:
    return [link if isinstance(link, list) else list(link.values()) for link in canvas["links"]]  # type: ignore[misc]


@pytest.mark.parametrize("name", workflow_names())
def test_at_most_fifteen_nodes_in_view(name: str) -> None:
    """On the canvas, its note among them, and in each stage that opens."""
    found = canvases(json.loads(MADE[name][1]))
    assert all(len(canvas["nodes"]) <= 15 for canvas in found.values())
    assert all(len(canvas["nodes"]) > 1 for canvas in found.values())
    ids = [node["id"] for canvas in found.values() for node in canvas["nodes"]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", workflow_names())
def test_links_agree_in_three_places_and_nothing_is_lost(name: str) -> None:
    api = load_workflow(name)
    for canvas in canvases(json.loads(MADE[name][1])).values():
        nodes = {node["id"]: node for node in canvas["nodes"]}
        ends: dict[int, list[list[int]]] = {}
        for number, source, output, target, slot, io_type in links_of(canvas):
            given = canvas["inputs"][output] if source == -10 else nodes[source]["outputs"][output]
            taken = canvas["outputs"][slot] if target == -20 else nodes[target]["inputs"][slot]
            assert number in given["linkIds" if source == -10 else "links"]
            assert taken["linkIds"] == [number] if target == -20 else taken["link"] == number
            assert given["type"] == io_type
            ends.setdefault(source, []).append([output, number])
        for node in nodes.values():
            shown = [[place, number] for place, output in enumerate(node["outputs"]) for number in output["links"]]
            assert sorted(shown) == sorted(ends.get(node["id"], []))
    nodes = {
        f"{prefix}{node['id']}": node
        for prefix, canvas in canvases(json.loads(MADE[name][1])).items()
        for node in canvas["nodes"]
    }
    assert api.keys() <= nodes.keys()
    for node_id, entry in api.items():
        values = [value for value in entry["inputs"].values() if link_of(value) is None]
        assert all(value in nodes[node_id]["widgets_values"] for value in values)


@pytest.mark.parametrize("name", workflow_names())
def test_a_stage_shows_what_the_recipe_offers(name: str) -> None:
    """Every option of the command line is a widget of the canvas, inside a stage through the stage's own block."""
    found = canvases(json.loads(MADE[name][1]))
    for exposed in exposed_inputs(load_workflow(name)).values():
        *path, inner = exposed.node_id.split(":")
        widget = exposed.input
        for depth in reversed(range(len(path))):
            stage = found["".join(f"{part}:" for part in path[: depth + 1])]
            (node,) = (node for node in stage["nodes"] if str(node["id"]) == inner)
            (link,) = (socket["link"] for socket in node["inputs"] if socket["name"] == widget)
            (place,) = (output for number, source, output, *_ in links_of(stage) if (number, source) == (link, -10))
            widget, inner = stage["inputs"][place]["name"], path[depth]
            above = found["".join(f"{part}:" for part in path[:depth])]
            (block,) = (node for node in above["nodes"] if str(node["id"]) == inner)
            assert {"name": widget} in [socket.get("widget") for socket in block["inputs"]]


def test_names_of_stages_must_agree_with_their_ids() -> None:
    prompt = load_workflow("ic_lora")
    next(entry for node_id, entry in prompt.items() if ":" in node_id)["_meta"]["stage"] = "Other"
    with pytest.raises(ValueError, match="expected one name in _meta.stage of all its nodes, found"):
        ui_workflow(prompt, {**registry_of(CORE_NODES), **REGISTRY}, name="ic_lora")


def test_nodes_do_not_lie_on_each_other() -> None:
    for canvas in (canvas for _, text in MADE.values() for canvas in canvases(json.loads(text)).values()):
        boxes = [(*node["pos"], *node["size"]) for node in canvas["nodes"]]
        boxes += [tuple(canvas[border]["bounding"]) for border in ("inputNode", "outputNode") if border in canvas]
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
        for node in (node for canvas in canvases(json.loads(text)).values() for node in canvas["nodes"]):
            models = node["properties"].get("models", [])
            named = [value for value in node["widgets_values"] if str(value).endswith((".safetensors", ".gguf"))]
            assert [model["name"] for model in models] == [name for name in named if not name.startswith("openltx-")]
            for model in models:
                assert model["url"].startswith("https://huggingface.co/")
                assert model["url"].endswith("/" + model["name"])
                assert model["directory"] in MODEL_ROLES
            found += len(models)
    assert found > 10
