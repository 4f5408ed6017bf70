"""ComfyUI's front end opens every workflow file of ours: no unknown node, no error, and it would run the API file.

Needs Chromium (`chromium` on the path, or CHROMIUM), node, and playwright-core where node finds it (NODE_PATH).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
WORKFLOWS = HERE.parents[1] / "workflows"
NAMES = sorted(path.stem for path in WORKFLOWS.glob("*.json"))
PREVIEWS = {"audioUI", "video-preview"}  # inputs that the front end adds to core's loaders, and the server ignores
PICTURES = {"text_to_av", "image_to_av"}  # for the README, kept where OPENLTX_PICTURES says
Graph = dict[str, Any]

pytestmark = pytest.mark.browser


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _chromium() -> str:
    """Where it is; skips where something is missing."""
    found = shutil.which(os.environ.get("CHROMIUM", "chromium"))
    if found is None:
        pytest.skip("no browser here: expected Chromium as `chromium` on the path, or named by CHROMIUM")
    if shutil.which("node") is None:
        pytest.skip("no browser test here: expected node on the path")
    asked = ["node", "-e", "require('playwright-core')"]
    if subprocess.run(asked, cwd=HERE, capture_output=True, check=False).returncode != 0:
        pytest.skip("no browser test here: expected playwright-core (npm install playwright-core; NODE_PATH)")
    return found


@pytest.fixture(scope="module")
def opened(contract_server: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the front end shows of each workflow, in one session of the browser. Files of models are empty ones."""
    chromium, pictures = _chromium(), os.environ.get("OPENLTX_PICTURES")
    tasks = [{"name": name, "workflow": _read(WORKFLOWS / f"{name}.json")} for name in NAMES]
    for task in tasks:
        _place_models(task["workflow"], contract_server.base / "models")
        if pictures and task["name"] in PICTURES:
            task["picture"] = str(Path(pictures).absolute() / f"{task['name']}.png")
    words = [contract_server.address, chromium, str(tmp_path_factory.mktemp("profile"))]
    command = ["node", str(HERE / "open_workflows.cjs"), *words]
    ended = subprocess.run(command, input=json.dumps(tasks), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return {found["name"]: found for found in map(json.loads, ended.stdout.splitlines())}


def _place_models(workflow: Graph, folder: Path) -> None:
    for node in workflow["nodes"]:
        for model in node["properties"].get("models", ()):
            place = folder / model["directory"] / model["name"]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()


@pytest.mark.parametrize("name", NAMES)
def test_front_end(opened: dict[str, Any], contract_server: Any, name: str) -> None:
    found = opened[name]
    assert found["unknown"] == []
    assert found["dialogs"] == []
    assert found["marked"] == []
    assert found["failures"] == []
    assert found.get("load") is None
    assert found.get("convert") is None
    assert found["nodes"] == len(_read(WORKFLOWS / f"{name}.json")["nodes"])
    described = contract_server.get("/object_info")
    assert completed(found["prompt"], described) == completed(_read(WORKFLOWS / "api" / f"{name}.json"), described)


def completed(graph: Graph, described: dict[str, Any]) -> dict[str, Any]:
    """{id: (type, inputs)}, with optional inputs that a file leaves out at the defaults that they run with."""
    found = {}
    for node_id, node in graph.items():
        offered = described[node["class_type"]]["input"].get("optional", {})
        defaults = {name: _default(*given) for name, given in offered.items() if _default(*given) is not None}
        given = {name: value for name, value in node["inputs"].items() if name not in PREVIEWS}
        found[node_id] = (node["class_type"], {**defaults, **given})
    return found


def _default(kind: Any, options: dict[str, Any] | None = None) -> Any:
    return (options or {}).get("default")
