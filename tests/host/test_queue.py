"""`openltx queue` and `openltx run --host comfyui` against the real ComfyUI."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from openltx.api import WORKFLOWS, load_workflow
from openltx.cli import main
from openltx.remote.checkout import server_of
from openltx.remote.job import Watch, run_job
from openltx.remote.server import Server

SMALL = ["--width", "64", "--height", "64", "--frames", "9", "--steps", "1"]


@pytest.fixture(scope="module")
def server(comfyui_checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Started once."""
    place = tmp_path_factory.mktemp("server")
    with server_of(comfyui_checkout, place, models=[], device="cpu", metadata=True, stop=lambda: False) as running:
        yield running
        assert "IMPORT FAILED" not in (place / "log").read_text()


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return int(container.streams.video[0].frames)


def test_a_workflow_with_a_picture(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["queue", "image_to_av", "--server", server.address, *SMALL, "--json"]
    for number in (1, 2):
        assert main(words) == 0
        captured = capsys.readouterr()
        (file,) = json.loads(captured.out)["files"]
        assert Path(file) == Path("output", f"openltx_{number:05}_.mp4")
        assert frames(Path(file)) == 9
        assert "sending ball_first.png" in captured.err


def test_progress_of_each_node(server: Server) -> None:
    prompt = load_workflow("text_to_av")
    prompt["4"]["inputs"] |= {"width": 64, "height": 64, "frames": 9}
    prompt["5"]["inputs"]["steps"] = 3
    seen: list[tuple[str, int, int]] = []
    watch = Watch(say=lambda text: None, part=lambda *row: seen.append(row), stop=lambda: False)
    Path("output").mkdir()
    assert len(run_job(server, prompt, Path("output"), watch)) == 1
    assert {("Sample", 1, 3), ("Sample", 3, 3)} <= set(seen), seen  # ComfyUI leaves out what follows too fast


def test_mistakes_are_named(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["queue", "text_to_av", "--server", server.address]
    assert main([*words, "--width", "0", "--set", "Model.checkpoint=none.safetensors"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert any(line.startswith("openltx: Model (node 1): Value not in list") for line in lines), lines
    assert any(line.startswith("Size (node 4): Value 0 smaller than min") for line in lines), lines
    assert not any(Path("output").iterdir())


def test_a_failure_on_the_server(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """A checkpoint that goes between the check and the run would do; a picture that is none is simpler."""
    Path("broken.png").write_bytes(b"no picture")
    prompt = load_workflow("image_to_av")
    Path("w.json").write_text(json.dumps(prompt))
    assert main(["queue", "w.json", "--server", server.address, "--image", "broken.png", *SMALL]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    (title,) = (node["_meta"]["title"] for node in prompt.values() if node["class_type"] == "LoadImage")
    assert last.startswith(f"openltx: {title} (node "), last


def test_an_interrupt_leaves_the_server_idle(server: Server) -> None:
    command = [sys.executable, "-m", "openltx", "queue", "text_to_av", "--server", server.address, "--steps", "1000"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 120
    while not server.get("/queue")["queue_running"]:
        assert time.monotonic() < end, "it never ran"
        time.sleep(0.05)
    time.sleep(0.5)  # ComfyUI's executor clears the flag when it starts a workflow
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=120)
    assert process.returncode == 130, text
    while server.get("/queue")["queue_running"]:
        assert time.monotonic() < end + 60, "it is still running"
        time.sleep(0.05)


def test_a_run_without_a_window(comfyui_checkout: Path) -> None:
    words = ["run", "text_to_av", "--host", "comfyui", "--comfyui", str(comfyui_checkout), "-o", "ball.mkv", *SMALL]
    assert main(words) == 0
    assert frames_decoded(Path("ball.mkv")) == 9
    assert [path.name for path in Path.cwd().iterdir()] == ["ball.mkv"]


def test_a_run_of_a_file_in_ui_format(comfyui_checkout: Path) -> None:
    """As the front end saves it, with inputs set by title."""
    Path("ui.json").write_text((WORKFLOWS.parent / "text_to_av.json").read_text(encoding="utf-8"))
    settings = {"Size.width": 64, "Size.height": 64, "Size.frames": 9, "Schedule.steps": 1}
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    assert main(["run", "ui.json", "--comfyui", str(comfyui_checkout), "-o", "ball.mp4", *words]) == 0
    assert frames(Path("ball.mp4")) == 9


def test_the_server_of_a_killed_run_ends(comfyui_checkout: Path) -> None:
    """kill -9 leaves us no chance to end it."""
    import psutil  # one of ComfyUI's requirements

    words = ["run", "text_to_av", "--host", "comfyui", "--comfyui", str(comfyui_checkout), "--steps", "1000"]
    process = subprocess.Popen([sys.executable, "-m", "openltx", *words], stderr=subprocess.DEVNULL)
    end = time.monotonic() + 180
    while not (servers := [child for child in psutil.Process(process.pid).children() if "main.py" in child.cmdline()]):
        assert time.monotonic() < end, "it never started one"
        time.sleep(0.1)
    process.kill()
    process.wait()
    gone, alive = psutil.wait_procs(servers, timeout=180)  # it may be loading packs still
    for server in alive:
        server.kill()
    assert gone
    assert not alive


def frames_decoded(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))
