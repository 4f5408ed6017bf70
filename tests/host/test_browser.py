"""ComfyUI's front end opens every workflow file of ours: no unknown node, no error, and it would run the API file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
WORKFLOWS = HERE.parents[1] / "workflows"
NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
Graph = dict[str, Any]

pytestmark = pytest.mark.browser


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def opened(contract_server: Any, browser: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the front end shows of each workflow. Files of models are empty ones."""
    pictures = os.environ.get("OPENLTX_PICTURES")
    tasks = [{"name": name, "workflow": _read(WORKFLOWS / f"{name}.json")} for name in NAMES]
    for task in tasks:
        _place_models(task["workflow"], contract_server.base / "models")
        if pictures:
            task["picture"] = str(Path(pictures).absolute() / f"{task['name']}.png")
    found: dict[str, Any] = browser.opened(contract_server, tasks, tmp_path_factory.mktemp("profile"))
    return found


def _place_models(workflow: Graph, folder: Path) -> None:
    stages = workflow.get("definitions", {}).get("subgraphs", [])
    for node in (node for canvas in [workflow, *stages] for node in canvas["nodes"]):
        for model in node["properties"].get("models", ()):
            place = folder / model["directory"] / model["name"]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()


@pytest.mark.parametrize("name", NAMES)
def test_front_end(opened: dict[str, Any], contract_server: Any, browser: Any, name: str) -> None:
    found = opened[name]
    assert found["unknown"] == []
    assert found["dialogs"] == []
    assert found["marked"] == []
    assert found["failures"] == []
    assert found.get("load") is None
    assert found.get("convert") is None
    assert found["nodes"] == len(_read(WORKFLOWS / f"{name}.json")["nodes"])
    described = contract_server.get("/object_info")
    expected = browser.completed(_read(WORKFLOWS / "api" / f"{name}.json"), described)
    assert browser.completed(found["prompt"], described) == expected
    assert found["untold"] == [], "widgets of stages without a tooltip"
    numbers = shown_numbers(_read(WORKFLOWS / "api" / f"{name}.json"))
    for node_id, option in numbers:
        expected[node_id][1][option] += 1
    assert browser.completed(found["changed"], described) == expected


def shown_numbers(graph: Graph) -> list[tuple[str, str]]:
    """Widgets inside of stages that the stages' own blocks have: node and input."""
    return [
        (node_id, name)
        for node_id, node in graph.items()
        if ":" in node_id
        for name in [*node["_meta"].get("expose", {}).values(), *node["_meta"].get("show", ())]
        if isinstance(node["inputs"][name], (int, float))
    ]
