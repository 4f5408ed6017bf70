"""The rules of the house, checked: who imports whom, what is light, types, style."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[1]
PURE = {"networks": {"torch", "einops"}, "samplers": {"torch", "einops"}}


def _run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("folder", PURE)
def test_pure_folders_import_nothing_else(folder: str) -> None:
    graph = grimp.build_graph("openltx", include_external_packages=True)
    allowed = PURE[folder] | set(sys.stdlib_module_names)
    found = {
        imported.split(".")[0]
        for module in graph.find_descendants(f"openltx.{folder}") | {f"openltx.{folder}"}
        for imported in graph.find_modules_directly_imported_by(module)
    } - {"openltx"}
    assert found <= allowed, f"{folder} imports {sorted(found - allowed)}"


def test_the_command_line_is_light() -> None:
    heavy = ["torch", "numpy", "av", "einops", "huggingface_hub", "tokenizers", "PIL", "openltx.nodes.registry"]
    code = f"import sys, openltx, openltx.cli; print([m for m in {heavy} if m in sys.modules])"
    result = _run(sys.executable, "-c", code, cwd=ROOT / "tests")
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


def test_import_contracts() -> None:
    result = _run(str(Path(sys.executable).with_name("lint-imports")))
    assert result.returncode == 0, result.stdout


def test_types() -> None:
    link = ROOT / ".typecheck" / "openltx"
    if not link.exists():  # not committed: a link in an archive never ends, and Windows makes a text file of it
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(ROOT, target_is_directory=True)
    options = ["--config-file", "../pyproject.toml", "--cache-dir", "../.mypy_cache", "-p", "openltx"]
    result = _run(sys.executable, "-m", "mypy", *options, cwd=link.parent)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=["lint", "format"])
def test_style(command: list[str]) -> None:
    result = _run(sys.executable, "-m", "ruff", *command, ".")
    assert result.returncode == 0, result.stdout


def test_requirements_ask_for_nothing_that_the_host_brings() -> None:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert lines == ["huggingface_hub", "tomli>=2; python_version < '3.11'"]


@pytest.mark.parametrize(
    "folder",
    ["adopt", "commands", "media", "model_loaders", "networks", "nodes", "plan", "remote", "samplers", "shots"],
)
def test_no_import_goes_in_a_circle(folder: str) -> None:
    """Between modules, imports inside functions included."""
    graph = grimp.build_graph("openltx")
    modules = graph.find_descendants(f"openltx.{folder}")
    imported = {module: graph.find_modules_directly_imported_by(module) & modules for module in modules}
    while free := {module for module, others in imported.items() if not others}:
        imported = {module: others - free for module, others in imported.items() if module not in free}
    assert imported == {}, f"in or behind a circle: {sorted(imported)}"
