"""ComfyUI's front end opens adopted workflows: core's templates, and graphs of other packs in every form of file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from openltx.adopt import Adopted, adopt, read_file, read_workflow
from openltx.nodes.core import CORE_NODES
from openltx.nodes.host.standalone.schema import registry_of
from openltx.nodes.registry import NODES
from openltx.tests import adopt_forms as forms
from openltx.tests import adopt_graphs as graphs
from openltx.tests import adopt_templates as templates

TESTS = Path(__file__).resolve().parents[1]
REGISTRY = registry_of([*NODES, *CORE_NODES])
MEDIA = {
    ".png": "ball_first.png",
    ".jpg": "ball_first.png",
    ".mp4": "ball.mp4",
    ".wav": "knocks.wav",
    ".mp3": "knocks.wav",
}
WEIGHTS = (".safetensors", ".gguf")
MODELS = (
    "checkpoints", "diffusion_models", "text_encoders", "vae", "loras", "latent_upscale_models", "geometry_estimation",
)  # fmt: skip
STRANGERS = {"SomebodysNode"}  # of a pack that nobody has
NEWER = {"LtxApi25TextToVideo", "LtxApi25ImageToVideo", "ModelAttentionBackend"}  # of ComfyUI 0.33
FORM_OF = {
    "old": "two_stages", "new": "ic_lora_pack", "objects": "lip_dub", "reroutes": "image_to_video",
    "primitives": "two_stages_ancestral", "nested": "looping",
}  # fmt: skip

pytestmark = pytest.mark.browser


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
def opened(
    service_server: Any, browser: Any, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> dict[str, Any]:
    """What the front end shows of each workflow that is asked for; the files that it names are there."""
    here = [item for item in request.session.items if isinstance(item, pytest.Function) and item.path == request.path]
    asked = {str(item.callspec.params["name"]) for item in here}
    for name in asked:
        _place(ADOPTED[name].ui, service_server.base)
    tasks = [{"name": name, "workflow": result.ui} for name, result in ADOPTED.items() if name in asked]
    found: dict[str, Any] = browser.opened(service_server, tasks, tmp_path_factory.mktemp("profile"))
    return found


@pytest.fixture(scope="module")
def described(service_server: Any) -> dict[str, Any]:
    """Every node of the server."""
    found: dict[str, Any] = service_server.get("/object_info", seconds=120)
    return found


def _place(workflow: dict[str, Any], base: Path) -> None:
    """Empty files for models, our samples for pictures, clips and sound."""
    for node in workflow["nodes"]:
        values = node["widgets_values"] if isinstance(node.get("widgets_values"), list) else []
        for name in (value for value in values if isinstance(value, str) and len(value) < 200):
            suffix = Path(name).suffix
            places = [base / "models" / folder / name for folder in MODELS] if suffix in WEIGHTS else []
            for place in places:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
            if suffix in MEDIA and not (base / "input" / name).exists():
                shutil.copy(base / "input" / MEDIA[suffix], base / "input" / name)


@pytest.mark.parametrize("name", ADOPTED)
def test_front_end(opened: dict[str, Any], described: dict[str, Any], browser: Any, told: list[str], name: str) -> None:
    """No missing node, no dialog, and what the front end would queue is the API file.

    Nodes of packs that are not here, or of a newer ComfyUI, are the old file's own; such a file is opened all the same.
    """
    found, result = opened[name], ADOPTED[name]
    missing = {kind for kind in NEWER if kind not in described} | STRANGERS
    assert set(found["unknown"]) <= missing
    if not found["unknown"]:
        assert found["dialogs"] == []
        assert browser.completed(found["prompt"], described) == browser.completed(result.prompt, described)
    assert found["failures"] == []
    assert found.get("load") is None
    assert found.get("convert") is None
    assert found["nodes"] == len(result.ui["nodes"])
    told.append(f"adopted {name}: opened, {found['nodes']} nodes, missing: {', '.join(found['unknown']) or 'none'}")
