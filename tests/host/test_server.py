"""Contract test 3: ComfyUI's server with our pack: it loads, describes the nodes, runs a workflow, and stops one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from openltx.nodes.host.standalone.info import info

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
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

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.address + path, timeout=10) as answer:
            return json.load(answer)

    def post(self, path: str, content: Any) -> Any:
        request = urllib.request.Request(self.address + path, json.dumps(content).encode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or "null")

    def queue(self, prompt: dict[str, Any]) -> str:
        answer = self.post("/prompt", {"prompt": prompt, "client_id": "contract"})
        assert answer["node_errors"] == {}
        return str(answer["prompt_id"])

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


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs, "_meta": {"title": class_type}}


@pytest.fixture(scope="module")
def server(comfyui_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Started once. `comfyui_base` is asked for its skip reason only; the server has folders of its own."""
    base = tmp_path_factory.mktemp("server")
    for name in ("custom_nodes/toys", "models", "input", "output", "temp", "user"):
        (base / name).mkdir(parents=True)
    (base / "custom_nodes" / "Open-LTX.dev").symlink_to(HERE.parents[1], target_is_directory=True)
    (base / "custom_nodes" / "toys" / "__init__.py").write_text(TOY_PACK.format(here=str(HERE)))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = "--cpu --disable-auto-launch --disable-api-nodes --database-url sqlite:///:memory:".split()
    command = [sys.executable, "main.py", *options, "--port", str(port), "--base-directory", str(base)]
    with (base / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=os.environ["COMFYUI_PATH"], stdout=log, stderr=subprocess.STDOUT)
    running = Server(f"http://127.0.0.1:{port}", base, base / "log")
    try:
        wait(lambda: process.poll() is not None or _answers(running), "ComfyUI's server")
        assert process.poll() is None, running.log.read_text()
        yield running
    finally:
        process.terminate()
        process.wait(timeout=20)


def _answers(server: Server) -> bool:
    try:
        return bool(server.get("/system_stats"))
    except (urllib.error.URLError, OSError):
        return False


def test_packs_load(server: Server) -> None:
    assert "IMPORT FAILED" not in server.log.read_text()


def test_object_info(server: Server, our_nodes: list[type[Any]]) -> None:
    offered = server.get("/object_info")
    assert "ToyEverything" in offered
    for ours in our_nodes:
        mine = json.loads(json.dumps(info(ours)))
        entry = offered[mine["name"]]
        assert entry["python_module"] == "custom_nodes.Open-LTX.dev"
        assert {key: entry[key] for key in mine if key != "input"} == {key: mine[key] for key in mine if key != "input"}


def test_workflow(server: Server) -> None:
    prompt = {
        "l": node("ToyLatent", seed=5),
        "d": node("ToyDigest", latent=["l", 0]),
        "s": node("ToySave", text=["d", 0], prefix="toy/clip"),
    }
    result = server.result(server.queue(prompt))
    assert result["status"]["status_str"] == "success"
    assert result["outputs"]["s"]["images"] == [{"filename": "clip_00001_.txt", "subfolder": "toy", "type": "output"}]
    assert (server.base / "output" / "toy" / "clip_00001_.txt").read_text().endswith("True (1, 4, 2, 3, 3) 5 None")


def test_a_workflow_with_a_former_node_id_still_runs(server: Server) -> None:
    assert server.get("/node_replacements")["ToyFormerLatent"][0]["old_widget_ids"] == ["former_seed"]
    former, present = node("ToyFormerLatent", former_seed=6), node("ToyLatent", seed=6)
    assert _digest(server, former, "former") == _digest(server, present, "present")
    assert _digest(server, former, "again") != _digest(server, node("ToyLatent", seed=7), "other")


def _digest(server: Server, latent: dict[str, Any], name: str) -> str:
    prompt = {"l": latent, "d": node("ToyDigest", latent=["l", 0]), "s": node("ToySave", text=["d", 0], prefix=name)}
    result = server.result(server.queue(prompt))
    assert result["status"]["status_str"] == "success"
    return (server.base / "output" / f"{name}_00001_.txt").read_text()


def test_interrupt(server: Server) -> None:
    prompt_id = server.queue({"n": node("ToySlow", silent=False), "show": node("ToyShow", value=["n", 0])})
    wait(lambda: server.get("/queue")["queue_running"], "the running workflow")
    time.sleep(0.2)  # the executor clears the flag when it starts a workflow
    server.post("/interrupt", {})
    messages = [message[0] for message in server.result(prompt_id)["status"]["messages"]]
    assert "execution_interrupted" in messages


def test_help_pages_and_languages_are_served(server: Server) -> None:
    pages = sorted((ROOT / "web" / "docs").glob("OpenLTX*.md"))
    assert pages
    for page in pages:
        address = f"{server.address}/extensions/Open-LTX.dev/docs/{page.name}"
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert answer.read() == page.read_bytes()
    texts = server.get("/i18n")
    for language in ("en", "zh", "ja", "ko"):
        ours = json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))
        served = texts[language]["nodeDefs"]
        assert ours
        assert {name: served[name] for name in ours} == ours
