"""ComfyUI for the contract tests: whether it is there, its copy of our package, and its executor without a server."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
import sys
import uuid
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("torch", "aiohttp", "torchsde", "transformers", "sqlalchemy", "alembic", "comfy_aimdo")


ABSENT = "no ComfyUI here"  # how each reason not to run begins


def checkouts() -> list[Path]:
    """Those that COMFYUI_PATH lists; without it the one beside the repository, or around it, if there is one."""
    listed = os.environ.get("COMFYUI_PATH", "")
    near = (ROOT.parent / "ComfyUI", ROOT.parents[1])
    found = [Path(path) for path in listed.split(os.pathsep)] if listed else [path for path in near if is_one(path)][:1]
    return [path.absolute() for path in found]


def is_one(path: Path) -> bool:
    """Whether a checkout of ComfyUI is there."""
    return (path / "main.py").is_file() and (path / "comfy").is_dir()


def checkout() -> Path:
    """The one that runs in this process."""
    return checkouts()[0]


def version_of(path: Path) -> str:
    """As the checkout says."""
    lines = (path / "comfyui_version.py").read_text(encoding="utf-8").splitlines()
    return next(line.partition("=")[2].strip(' "') for line in lines if line.startswith("__version__"))


def why_not() -> str | None:
    """Why ComfyUI cannot run here, or None if it can."""
    found = checkouts()
    if not found:
        return f"{ABSENT}: set COMFYUI_PATH to a checkout, or several, to run the host contract against them"
    if not is_one(found[0]):
        return f"{ABSENT}: COMFYUI_PATH names {found[0]}, which is no checkout of it"
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    return f"{ABSENT}: its own requirements are not installed: {', '.join(missing)}" if missing else None


def load_package(name: str) -> None:
    """Makes a second copy of our package, as ComfyUI loads one: other name, other side of the seam."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            name, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
        )
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    importlib.import_module(f"{name}.nodes.host").__dict__["in_comfyui"] = True


def load_toys(package: str, name: str = "toy_nodes") -> ModuleType:
    """The toy nodes, fresh, made against the side of the seam that `package` (a copy of ours) stands on."""
    source = Path(__file__).with_name(f"{name}.py")
    module = ModuleType(f"{name}_of_{package}")
    code = source.read_text(encoding="utf-8").replace("from openltx.", f"from {package}.")
    exec(compile(code, source, "exec"), module.__dict__)
    return module


class _Server:
    """Stands in for the web server that the executor reports to."""

    client_id = "contract"
    last_node_id = None
    last_prompt_id = None
    sockets_metadata: dict[str, Any] = {}

    def send_progress_text(self, *_: Any, **__: Any) -> None:
        """Of nodes that show a value while they run."""

    def send_sync(self, event: Any, data: Any, sid: Any = None) -> None:
        pass


def start(base: Path) -> None:
    """Imports ComfyUI into this process, on the CPU, with its folders below `base`."""
    path, arguments, folder = str(checkout()), sys.argv, os.getcwd()
    for name in ("custom_nodes", "models", "input", "output", "temp", "user"):
        (base / name).mkdir(parents=True, exist_ok=True)
    sys.path.insert(0, path)  # first: its module `nodes` has the name of our folder
    sys.argv = ["main.py", "--cpu", "--base-directory", str(base), "--database-url", "sqlite:///:memory:"]
    try:
        os.chdir(path)
        importlib.import_module("comfy.options").enable_args_parsing()
        for name in ("utils.extra_config", "execution", "nodes"):  # `nodes` puts a `utils` before its own on the path
            importlib.import_module(name)
        importlib.import_module("server").PromptServer.instance = _Server()
    finally:
        sys.argv = arguments
        os.chdir(folder)


class Executor:
    """ComfyUI's executor with `nodes` registered; its cache lives as long as this object."""

    def __init__(self, nodes: list[type[Any]]) -> None:
        self.execution: Any = importlib.import_module("execution")
        self.register(nodes)
        cache = {"lru": 0, "ram": 0, "ram_inactive": 0}
        kind = self.execution.CacheType.CLASSIC
        self.executor: Any = self.execution.PromptExecutor(_Server(), cache_type=kind, cache_args=cache)

    def register(self, nodes: list[type[Any]]) -> None:
        """Adds node classes to those that the executor knows."""
        mappings = importlib.import_module("nodes").NODE_CLASS_MAPPINGS
        mappings.update({node.GET_SCHEMA().node_id: node for node in nodes})

    def validate(self, prompt: dict[str, Any]) -> tuple[bool, str, list[str]]:
        """Whether the prompt may run, the errors as text, and the outputs to run."""
        ok, error, outputs, node_errors = asyncio.run(self.execution.validate_prompt("contract", prompt, None))
        return ok and not node_errors, f"{error} {node_errors}", outputs

    def run(self, prompt: dict[str, Any], outputs: list[str]) -> tuple[str, str, dict[str, Any]]:
        """How the run ended (success, failed, interrupted), the error's text, and `ui` by node id."""
        self.executor.execute(prompt, uuid.uuid4().hex, {"client_id": "contract"}, outputs)
        messages = dict(self.executor.status_messages)
        if "execution_interrupted" in messages:
            return "interrupted", "", {}
        failure = messages.get("execution_error")
        text = "" if failure is None else f"{failure['node_id']} {failure['exception_message']}"
        return ("success" if failure is None else "failed"), text, self.executor.history_result["outputs"]

    def stop(self) -> None:
        importlib.import_module("comfy.model_management").interrupt_current_processing()
