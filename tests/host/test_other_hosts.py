"""Hosts after the first that COMFYUI_PATH lists: all host tests again, each host in a process and Python of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from openltx.remote.checkout import python_of

HERE = Path(__file__).resolve().parent


def _side() -> ModuleType:
    spec = importlib.util.spec_from_file_location("comfyui_side", HERE / "comfyui_side.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


side = _side()


@pytest.mark.parametrize("checkout", side.checkouts()[1:], ids=str)
def test_host(checkout: Path, told: list[str], tmp_path: Path) -> None:
    assert side.is_one(checkout), f"COMFYUI_PATH: expected a checkout of ComfyUI, found {checkout}"
    command = [str(python_of(checkout)), "-m", "pytest", str(HERE), "-q", "-p", "no:cacheprovider"]
    (tmp_path / "openltx").symlink_to(HERE.parents[1], target_is_directory=True)  # that Python may have none installed
    environment = {**os.environ, "COMFYUI_PATH": str(checkout), "PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(command, env=environment, cwd=HERE.parents[1], capture_output=True, text=True, check=False)
    lines = ended.stdout.splitlines()
    at = next((place for place, line in enumerate(lines) if "= ComfyUI hosts =" in line), len(lines))
    told += [line for line in lines[at + 1 :] if not line.startswith(("=", "FAILED", "ERROR"))]
    assert ended.returncode == 0, "\n".join([*lines[-60:], *ended.stderr.splitlines()[-20:]])
    assert side.ABSENT not in ended.stdout, f"{checkout}: put its environment at .venv in it, or run with its Python"
