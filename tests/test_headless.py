"""`openltx run --host comfyui` where the checkout is none or broken, and what a checkout is started with.

A run in the real ComfyUI is in tests/host/test_queue.py.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from openltx.cli import main
from openltx.remote.checkout import python_of, server_of
from openltx.remote.server import Server

ANSWERS = """
import http.server, json, pathlib, sys
words = sys.argv[1:]

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps(words).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

print("starting")
http.server.HTTPServer(("127.0.0.1", int(words[words.index("--port") + 1])), Handler).serve_forever()
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the marks of a checkout and a main.py that ends at once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    (tmp_path / "ComfyUI" / "comfy").mkdir(parents=True)
    (tmp_path / "ComfyUI" / "main.py").write_text("import a_module_that_nobody_has")
    return tmp_path / "ComfyUI"


def refused(code: int, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["run", "text_to_av", *words]) == code
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_no_checkout(checkout: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "expected --comfyui DIR or COMFYUI_PATH" in refused(2, capsys, "--host", "comfyui")
    assert "expected a ComfyUI checkout" in refused(2, capsys, "--host", "comfyui", "--comfyui", ".")
    monkeypatch.setenv("COMFYUI_PATH", "nowhere")
    assert "nowhere" in refused(2, capsys, "--host", "comfyui")
    assert "'tpu'" in refused(2, capsys, "--comfyui", str(checkout), "--device", "tpu")


def test_an_environment_that_does_not_work(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(1, capsys, "--comfyui", str(checkout), "-o", "x.mp4")
    assert "No module named 'a_module_that_nobody_has'" in line
    assert sys.executable in line
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["ComfyUI"]


def test_the_environment_of_the_checkout_is_preferred(checkout: Path) -> None:
    assert python_of(checkout) == Path(sys.executable)
    (checkout / "venv" / "bin").mkdir(parents=True)
    (checkout / "venv" / "bin" / "python").touch()
    assert python_of(checkout) == checkout / "venv" / "bin" / "python"


def test_what_it_is_started_with(checkout: Path, tmp_path: Path) -> None:
    (checkout / "main.py").write_text(ANSWERS)
    place = tmp_path / "place"
    place.mkdir()
    options = {"models": [tmp_path / "mine"], "device": "cpu", "metadata": False, "stop": lambda: False}
    with server_of(checkout, place, **options) as server:  # type: ignore[arg-type]
        words = server.get("/anything")
        address = server.address
    assert {"--cpu", "--disable-metadata", "--disable-api-nodes", "--disable-auto-launch"} <= set(words)
    assert words[words.index("--output-directory") + 1] == str(place / "output")
    folders = json.loads(Path(words[words.index("--extra-model-paths-config") + 1]).read_text())["openltx"]
    assert folders["loras"] == str(tmp_path / "mine" / "loras")
    assert [path.name for path in Path(folders["custom_nodes"]).iterdir()] == ["openltx"]
    with pytest.raises(ConnectionError, match="no ComfyUI answers"):
        Server(address).get("/anything")  # it has ended


def test_an_interrupt_while_it_starts(checkout: Path, tmp_path: Path) -> None:
    (checkout / "main.py").write_text("import time; time.sleep(600)")
    place = tmp_path / "place"
    place.mkdir()
    with pytest.raises(KeyboardInterrupt):
        with server_of(checkout, place, models=[], device="cpu", metadata=True, stop=lambda: True):
            raise AssertionError("it started")
