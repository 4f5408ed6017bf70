"""The two hosts behind one interface, so that each contract test is written once and runs on both."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from openltx.nodes.host.standalone.errors import NodeError, WorkflowError
from openltx.nodes.host.standalone.executor import Cache, run
from openltx.nodes.host.standalone.runtime import Interrupted, Observer
from openltx.nodes.host.standalone.schema import registry_of
from openltx.nodes.host.standalone.settings import Settings, model_folders_below

Prompt = dict[str, Any]


def load(name: str) -> ModuleType:
    """A helper file of this folder (tests have no packages)."""
    spec = importlib.util.spec_from_file_location(f"host_contract_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


comfyui_side, native_side, server_side = load("comfyui_side"), load("native_side"), load("server_side")
browser_side, foreign_side = load("browser_side"), load("foreign_side")
SETTINGS = {"Comfy.TutorialCompleted": True, "Comfy.Validation.Workflows": True, "Comfy.Minimap.Visible": False}
FRONT_END = {"user/default/comfy.settings.json": json.dumps(SETTINGS)}
OTHER_HOSTS: list[str] = []  # what test_other_hosts.py has to tell


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Which host was under test, and which of its tests were skipped for what reason: never only a number."""
    say, ended = terminalreporter.write_line, terminalreporter.stats
    terminalreporter.section("ComfyUI hosts")
    reason = comfyui_side.why_not()
    if reason:
        say(reason)
    else:
        path, passed = comfyui_side.checkout(), len(ended.get("passed", ()))
        say(f"{comfyui_side.version_of(path)} in {path}: {passed} passed, {len(ended.get('failed', ()))} failed")
    skipped: dict[str, list[str]] = {}
    for report in ended.get("skipped", ()):
        skipped.setdefault(report.longrepr[2].removeprefix("Skipped: "), []).append(report.nodeid)
    for why, tests in skipped.items():
        say(f"skipped {f'{len(tests)} tests' if len(tests) > 3 else ', '.join(tests)}: {why}")
    for line in OTHER_HOSTS:
        say(line)


@pytest.fixture
def told() -> list[str]:
    """Lines for the summary."""
    return OTHER_HOSTS


@dataclass
class Outcome:
    """How a run ended: success, refused (before it began), failed or interrupted; its error; `ui` by node id."""

    ended: str
    error: str = ""
    ui: dict[str, Any] = field(default_factory=dict)


@dataclass
class StandaloneHost:
    """Our own executor; results stay between runs, as in ComfyUI."""

    folder: Path
    name: str = "standalone"
    package: str = "openltx"

    def __post_init__(self) -> None:
        toys = comfyui_side.load_toys("openltx")
        self.log: list[str] = toys.LOG
        self.nodes: list[type[Any]] = toys.NODES
        self.input_folder, self.models_folder = self.folder / "input", self.folder / "models"
        self.cache, self.halt = Cache(), threading.Event()

    @property
    def output_folder(self) -> Path:
        return self.folder / "output"

    def add(self, nodes: list[type[Any]]) -> None:
        """Node classes beside the toys."""
        self.nodes = [*self.nodes, *nodes]

    def run(self, prompt: Prompt) -> Outcome:
        self.halt.clear()
        self.log.clear()
        models = model_folders_below(self.models_folder)
        folders: dict[str, Any] = {"output_folder": self.output_folder, "input_folder": self.input_folder}
        settings = Settings(**folders, temp_folder=self.folder / "temp", model_folders=models, device="cpu")
        options: dict[str, Any] = {"settings": settings, "observer": Observer(), "keep": self.cache, "stop": self.halt}
        try:
            results = run(prompt, registry_of(self.nodes), **options)
        except WorkflowError as error:
            return Outcome("refused", str(error))
        except NodeError as error:
            return Outcome("failed", str(error))
        except Interrupted:
            return Outcome("interrupted")
        return Outcome("success", ui=_plain({node_id: result.ui for node_id, result in results.items() if result.ui}))

    def stop(self) -> None:
        self.halt.set()


class ComfyUIHost:
    """ComfyUI's executor in this process, without its server."""

    name = "comfyui"
    package = "openltx_in_comfyui"

    def __init__(self, base: Path) -> None:
        self.models_folder = base / "models"
        toys = comfyui_side.load_toys("openltx_in_comfyui")
        self.log: list[str] = toys.LOG
        self.nodes: list[type[Any]] = toys.NODES
        self.executor, self.output_folder = comfyui_side.Executor(self.nodes), base / "output"

    def run(self, prompt: Prompt) -> Outcome:
        self.log.clear()
        prompt = copy.deepcopy(prompt)  # ComfyUI writes converted values into it
        ok, error, outputs = self.executor.validate(prompt)
        if not ok:
            return Outcome("refused", error)
        ended, error, ui = self.executor.run(prompt, outputs)
        return Outcome(ended, error, _plain(ui))

    def add(self, nodes: list[type[Any]]) -> None:
        self.executor.register(nodes)

    def stop(self) -> None:
        self.executor.stop()


def _plain(value: Any) -> Any:
    """As JSON: tuples become lists."""
    return json.loads(json.dumps(value))


@pytest.fixture(scope="session")
def our_nodes() -> list[type[Any]]:
    """The package's own nodes. A fixture, so that a broken node module fails only the tests that need it."""
    from openltx.nodes.registry import NODES

    return list(NODES)


@pytest.fixture(scope="session")
def comfyui_checkout() -> Path:
    """Of the host under test; skips where it cannot run."""
    reason = comfyui_side.why_not()
    if reason:
        pytest.skip(reason)
    checkout: Path = comfyui_side.checkout()
    return checkout


@pytest.fixture(scope="session")
def comfyui_started(comfyui_checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ComfyUI imported into this process, with its folders below the returned one; skips where it cannot be."""
    base = tmp_path_factory.mktemp("comfyui")
    comfyui_side.start(base)
    comfyui_side.load_package("openltx_in_comfyui")
    return base


@pytest.fixture(scope="module")
def comfyui_base(comfyui_started: Path) -> Iterator[Path]:
    """The folder of `comfyui_started`; models and inputs that the tests of a file put there leave with that file."""
    before = _files_below(comfyui_started)
    yield comfyui_started
    for path in _files_below(comfyui_started) - before:
        path.unlink()


def _files_below(base: Path) -> set[Path]:
    paths = (path for folder in ("models", "input") for path in (base / folder).rglob("*"))
    return {path for path in paths if path.is_symlink() or path.is_file()}


@pytest.fixture(scope="session")
def contract_server(comfyui_checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """ComfyUI's server with our pack and the toys, started once; its front end without first-run dialog."""
    with server_side.running(comfyui_checkout, tmp_path_factory.mktemp("server"), FRONT_END) as server:
        yield server


@pytest.fixture(scope="module")
def service_server(comfyui_checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The same as people start it: with the nodes that ask a paid service."""
    place = tmp_path_factory.mktemp("server")
    with server_side.running(comfyui_checkout, place, FRONT_END, services=True) as server:
        yield server


@pytest.fixture(params=["standalone", "comfyui"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StandaloneHost | ComfyUIHost]:
    if request.param == "standalone":
        yield StandaloneHost(tmp_path)
    else:
        yield ComfyUIHost(request.getfixturevalue("comfyui_base"))


@pytest.fixture
def parts_host(host: StandaloneHost | ComfyUIHost) -> StandaloneHost | ComfyUIHost:
    """A host with our own nodes and the toy that makes parts."""
    ours = importlib.import_module(f"{host.package}.nodes.registry").NODES
    host.add([*ours, *comfyui_side.load_toys(host.package, "toy_parts").NODES])
    return host


@pytest.fixture
def both_hosts(comfyui_base: Path, tmp_path: Path) -> tuple[StandaloneHost, ComfyUIHost]:
    return StandaloneHost(tmp_path), ComfyUIHost(comfyui_base)


@pytest.fixture(scope="session")
def browser() -> ModuleType:
    """ComfyUI's front end in a browser."""
    return browser_side


@pytest.fixture(scope="session")
def side() -> ModuleType:
    """Pieces of graphs for `graphs`."""
    return native_side


@pytest.fixture(scope="session")
def foreign() -> ModuleType:
    """ComfyUI's own model in graphs for `graphs`."""
    return foreign_side


@pytest.fixture(scope="module")
def graphs(comfyui_base: Path) -> Any:
    """Runs graphs of ComfyUI's nodes and ours, translated as it registers them."""
    return native_side.Graphs(comfyui_side.Executor)
