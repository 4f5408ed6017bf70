"""ComfyUI's server as a process of its own, with our pack and the toys in it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
START = 600.0  # seconds that a server may take on a busy machine
PACK = "Open-LTX.dev"  # the folder's name, which is no name of a Python package
TOY_PACK = """
import importlib, sys
sys.path.append({here!r})
from comfyui_side import load_package, load_toys

async def comfy_entrypoint():
    load_package("openltx_for_toys")
    extension = importlib.import_module("openltx_for_toys.nodes.host.comfyui.extension")
    renamed = importlib.import_module("openltx_for_toys.nodes.host.replaced").Replacement(
        old="ToyFormerLatent", new="ToyLatent", inputs={{"seed": "former_seed"}}, widgets=("former_seed",)
    )
    return extension.OpenLTXExtension(load_toys("openltx_for_toys").NODES, [renamed])
"""


@dataclass
class Server:
    """A running ComfyUI."""

    address: str
    base: Path
    log: Path
    process: subprocess.Popen[bytes]

    def get(self, path: str, seconds: float = 10) -> Any:
        with urllib.request.urlopen(self.address + path, timeout=seconds) as answer:
            return json.load(answer)

    def post(self, path: str, content: Any) -> Any:
        request = urllib.request.Request(self.address + path, json.dumps(content).encode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or "null")

    def queue(self, prompt: dict[str, Any]) -> str:
        answer = self.post("/prompt", {"prompt": prompt, "client_id": "contract"})
        assert answer["node_errors"] == {}
        return str(answer["prompt_id"])

    def wait(self, ask: Callable[[], Any], what: str, seconds: float = 60) -> Any:
        """The first answer that is true."""
        return wait(ask, what, seconds)

    def result(self, prompt_id: str) -> Any:
        return wait(lambda: self.get(f"/history/{prompt_id}").get(prompt_id), "the workflow")


def wait(ask: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"{what}: not there after {seconds} s")


@contextmanager
def running(
    checkout: Path, base: Path, files: dict[str, str] | None = None, *, services: bool = False
) -> Iterator[Server]:
    """A server of the checkout with its folders in `base`, our samples as inputs.

    files: more there, by their paths. services: with the nodes that ask a paid service.
    """
    for name in ("custom_nodes/toys", "models", "output", "temp", "user/default"):
        (base / name).mkdir(parents=True)
    shutil.copytree(HERE.parents[1] / "workflows" / "input", base / "input")
    (base / "custom_nodes" / PACK).symlink_to(HERE.parents[1], target_is_directory=True)
    (base / "custom_nodes" / "toys" / "__init__.py").write_text(TOY_PACK.format(here=str(HERE)))
    for path, text in (files or {}).items():
        (base / path).write_text(text, encoding="utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = "--cpu --disable-auto-launch --database-url sqlite:///:memory:".split()
    options += [] if services else ["--disable-api-nodes"]
    command = [sys.executable, "main.py", *options, "--port", str(port), "--base-directory", str(base)]
    with (base / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=checkout, stdout=log, stderr=subprocess.STDOUT)
    server = Server(f"http://127.0.0.1:{port}", base, base / "log", process)
    try:
        wait(lambda: process.poll() is not None or _answers(server), "ComfyUI's server", START)
        assert process.poll() is None, server.log.read_text()
        yield server
    finally:
        process.terminate()
        process.wait(timeout=20)


def _answers(server: Server) -> bool:
    try:
        return bool(server.get("/system_stats"))
    except (urllib.error.URLError, OSError):
        return False
