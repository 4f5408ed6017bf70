"""ComfyUI's front end opens adopted workflows: core's templates, and graphs of other packs in every form of file."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from openltx.adopt import Adopted, adopt, read_file, read_workflow
from openltx.nodes.core import CORE_NODES
from openltx.nodes.host.standalone.schema import registry_of
from openltx.nodes.registry import NODES

TESTS = Path(__file__).resolve().parents[1]
REGISTRY = registry_of([*NODES, *CORE_NODES])
MEDIA = {
    ".png": "ball_first.png",
    ".jpg": "ball_first.png",
    ".mp4": "ball.mp4",
    ".wav": "knocks.wav",
    ".mp3": "knocks.wav",
}
STRANGERS = ["SomebodysNode"]  # of a pack that nobody has
FORM_OF = {
    "old": "two_stages", "new": "ic_lora_pack", "objects": "lip_dub", "reroutes": "image_to_video",
    "primitives": "two_stages_ancestral", "nested": "looping",
}  # fmt: skip

pytestmark = pytest.mark.browser


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, TESTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


graphs, forms, templates = _load("adopt_graphs"), _load("adopt_forms"), _load("adopt_templates")
FOUND = {path.stem: path for path in templates.found()}


def _adopted() -> Iterator[tuple[str, Adopted]]:
    for name, path in FOUND.items():
        yield name, adopt(read_file(path), REGISTRY, name=name)
    for name, make in graphs.GRAPHS.items():
        yield name, adopt(read_workflow(graphs.api(make()), name), REGISTRY, name=name)
    for form, name in FORM_OF.items():
        title = f"{name}_{form}"
        yield title, adopt(read_workflow(forms.FORMS[form](graphs.GRAPHS[name]()), title), REGISTRY, name=title)


ADOPTED = dict(_adopted())


@pytest.fixture(scope="module")
def opened(service_server: Any, browser: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the front end shows of each workflow; the files that it names are there."""
    for result in ADOPTED.values():
        _place(result.ui, service_server.base)
    tasks = [{"name": name, "workflow": result.ui} for name, result in ADOPTED.items()]
    found: dict[str, Any] = browser.opened(service_server, tasks, tmp_path_factory.mktemp("profile"))
    return found


def _place(workflow: dict[str, Any], base: Path) -> None:
    for node in workflow["nodes"]:
        for model in node["properties"].get("models", ()):
            _touch(base / "models" / model["directory"] / model["name"])
        for value in node["widgets_values"] if isinstance(node.get("widgets_values"), list) else ():
            sample = MEDIA.get(Path(value).suffix) if isinstance(value, str) and len(value) < 200 else None
            if sample and not (base / "input" / value).exists():
                shutil.copy(base / "input" / sample, base / "input" / value)


def _touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@pytest.mark.parametrize("name", ADOPTED)
def test_front_end(opened: dict[str, Any], service_server: Any, browser: Any, told: list[str], name: str) -> None:
    """No missing node, no dialog, and what the front end would queue is the API file."""
    found, result = opened[name], ADOPTED[name]
    assert [kind for kind in found["unknown"] if kind not in STRANGERS] == []
    assert found["dialogs"] == []
    assert found["failures"] == []
    assert found.get("load") is None
    assert found.get("convert") is None
    assert found["nodes"] == len(result.ui["nodes"])
    described = service_server.get("/object_info")
    assert browser.completed(found["prompt"], described) == browser.completed(result.prompt, described)
    told.append(f"adopted {name}: opened, {found['nodes']} nodes")
