"""The command line as users meet it: a file for good input, one line and exit code 2 for bad input."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import av
import pytest

from openltx.api import WORKFLOWS, load_workflow, run, version, workflow_names
from openltx.cli import _log_shown, main

SMALL = ["--width", "64", "--height", "64", "--frames", "9", "--steps", "2"]
ASSET = Path(WORKFLOWS).parents[1] / "assets" / "openltx-tiny-2.3.safetensors"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_generate_makes_a_video_with_sound_of_equal_length(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "a red ball", "-o", "ball.mp4", *SMALL]) == 0
    assert capsys.readouterr().out.split() == ["ball.mp4"]
    with av.open("ball.mp4") as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.frames, video.width, video.height) == (9, 64, 64)
        seconds = [float(stream.duration * stream.time_base) for stream in (video, audio)]
    assert abs(seconds[0] - seconds[1]) < 1 / 24
    assert [path.name for path in Path.cwd().iterdir()] == ["ball.mp4"]


def test_numbered_files_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    for number in (1, 2):
        assert main(["run", "text_to_av", *SMALL, "--json", "--prefix", "clips/take", "--container", "mkv"]) == 0
        (file,) = json.loads(capsys.readouterr().out)["files"]
        assert Path(file) == Path("output", "clips", f"take_{number:05}_.mkv")
        assert Path(file).is_file()


def test_python_api_settings_and_seeds() -> None:
    small: dict[str, Any] = {"width": 64, "height": 64, "frames": 9, "steps": 2}
    first = run(prompt="a red ball", output="a.mkv", seed=1, **small)
    again = run(load_workflow("text_to_av"), prompt="a red ball", output="b.mkv", seed=1, **small)
    other = run(prompt="a red ball", output="c.mkv", settings={"Sample.noise_seed": "2"}, **small)
    sounds = [_sound(result.files[0]) for result in (first, again, other)]
    assert sounds[0] == sounds[1]
    assert sounds[0] != sounds[2]


def _sound(path: Path) -> bytes:
    with av.open(str(path)) as container:
        return b"".join(frame.to_ndarray().tobytes() for frame in container.decode(audio=0))


def test_sizes_off_the_grid_and_an_empty_prompt_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--width", "70", "--height", "90", "--frames", "12", "--steps", "1"]
    assert main(["generate", "  ", "-o", "x.mp4", *sizes]) == 0
    lines = capsys.readouterr().err.splitlines()
    for text in ("width 70 is not a multiple of 32: 64", "height 90", "96 is used", "frames 12 is not 8n+1: 9"):
        assert any(text in line for line in lines), (text, lines)
    assert any("the prompt is empty" in line for line in lines)
    with av.open("x.mp4") as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (64, 96)


BAD = {
    "zero width": (["--width", "0"], "'width': expected INT from 1"),
    "negative height": (["--height", "-64"], "'height': expected INT from 1"),
    "no number": (["--width", "wide"], "width: expected INT, found 'wide'"),
    "no frames": (["--frames", "0"], "'frames'"),
    "zero fps": (["--fps", "0"], "'frame_rate': expected FLOAT from 1.0"),
    "fps that is no number": (["--fps", "nan"], "fps: expected a positive number"),
    "unknown workflow": (["--workflow", "nope"], "workflow 'nope': no such file"),
    "unknown option": (["--nope", "3"], "unrecognized arguments"),
    "unknown node": (["--set", "Nope.x=1"], "Nope.x: expected NODE.INPUT with a node out of 1 (Model)"),
    "unknown input": (["--set", "Sample.x=1"], "Sample.x: expected an input out of noise_seed"),
    "no setting": (["--set", "Sample"], "--set Sample: expected NODE.INPUT=VALUE"),
    "unknown device": (["--device", "toaster"], "device 'toaster': cannot be used here"),
    "no model folder": (["--models", "none"], "none: no such folder"),
    "no checkpoint": (["--checkpoint", "none.safetensors"], "expected one of 'openltx-tiny-2.3.safetensors'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_exit_code_2(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    options, text = BAD[name]
    _refused(["generate", "a ball", "-o", "x.mp4", *options], text, capsys)


@pytest.mark.parametrize(
    ("target", "text"),
    [("none/x.mp4", "none: no such folder"), ("x.avi", "expected a name ending in"), (".", "expected a name ending")],
)
def test_bad_targets(target: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    _refused(["generate", "a ball", "-o", target], text, capsys)


def test_bad_workflow_files(capsys: pytest.CaptureFixture[str]) -> None:
    cases = {
        "broken.json": ("{", "expected JSON"),
        "ui.json": ('{"nodes": [], "links": []}', "found UI format"),
        "typeless.json": ('{"1": {}}', "expected an object with class_type"),
        "unknown.json": ('{"1": {"class_type": "Nope", "inputs": {}}}', "Nope"),
    }
    for name, (content, text) in cases.items():
        Path(name).write_text(content)
        _refused(["run", name], text, capsys, left={*cases, "output"})
    _refused(["run", "none.json"], "no such file", capsys, left={*cases, "output"})


def test_bad_checkpoints(capsys: pytest.CaptureFixture[str]) -> None:
    data = ASSET.read_bytes()
    cases = {
        "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "a Git-LFS pointer"),
        "short": (data[:2_000_000], "truncated"),
        "header": (data[:1000], "incomplete"),
        "zip": (b"PK\x03\x04" + bytes(100), "not a safetensors file"),
    }
    for name, (content, text) in cases.items():
        Path(f"{name}.safetensors").write_bytes(content)
        options = ["--checkpoint", f"{name}.safetensors"]
        _refused(["generate", "a", "-o", "x.mp4", *options], text, capsys, left={f"{n}.safetensors" for n in cases})


def _refused(argv: list[str], text: str, capsys: pytest.CaptureFixture[str], left: set[str] | None = None) -> None:
    try:
        code = main(argv)
    except SystemExit as ended:  # argparse
        code = int(ended.code or 0)
    captured = capsys.readouterr()
    assert code == 2, captured.err
    assert len(captured.err.splitlines()) == 1, captured.err
    assert text in captured.err
    assert captured.out == ""
    assert {path.name for path in Path.cwd().iterdir()} <= (left or set())


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is sent as a POSIX signal here")
def test_ctrl_c_ends_with_130_and_keeps_the_earlier_file() -> None:
    Path("x.mp4").write_bytes(b"an earlier result")
    command = [
        sys.executable,
        "-m",
        "openltx",
        "generate",
        "a",
        "-o",
        "x.mp4",
        *SMALL[:-1],
        "1000",
        "--keep-after",
        "-1",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not any(path.name.startswith(".openltx-") for path in Path.cwd().iterdir()):  # it has begun
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    told = [line for line in errors.splitlines() if not line.startswith("openltx: attention on ")]
    assert told == ["openltx: interrupted; nothing was written"]
    assert Path("x.mp4").read_bytes() == b"an earlier result"
    assert [path.name for path in Path.cwd().iterdir()] == ["x.mp4"]


def test_a_console_without_unicode_gets_ascii() -> None:
    environment = os.environ | {"PYTHONIOENCODING": "cp1252"}
    command = [sys.executable, "-m", "openltx", "run", "none→.json"]
    result = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert result.returncode == 2
    assert b"none->.json" in result.stderr


def test_listing_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["workflows"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in workflow_names())
    assert "--prompt" in listed
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.strip() == version()


def test_the_commands_are_a_frozen_surface(capsys: pytest.CaptureFixture[str]) -> None:
    """A new command or a renamed option is a decision: it shows here."""
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    named = ("generate", "run", "workflows", "inspect", "doctor", "download", "conformance", "bench", "train")
    for command in (*named, "queue", "reproduce", "sign", "verify"):
        assert f"\n    {command}" in out


def test_the_log_of_the_package_is_shown_while_a_command_runs(capsys: pytest.CaptureFixture[str]) -> None:
    note = logging.getLogger("openltx.model_loaders.some")
    with _log_shown():
        note.info("68 nvfp4: dequantised in each call")
        note.warning("no kernel")
    note.info("nobody listens")
    assert capsys.readouterr().err == ("openltx: 68 nvfp4: dequantised in each call\nopenltx: warning: no kernel\n")
