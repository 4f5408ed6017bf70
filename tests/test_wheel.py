"""What `pip install .` installs: everything that the checkout ships, and nothing that is gone."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
KEPT_BACK = {"benchmarks", "tests"}  # of the folders: what only a checkout has
SHIPPED = {path.name for path in ROOT.iterdir() if path.is_dir() and (path / "__init__.py").is_file()} - KEPT_BACK | {
    "workflows",
    "web",
    "locales",
    "assets",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names in the wheel that is built from the sdist, so that nothing of the checkout leaks in."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    (path,) = folder.glob("*.whl")
    return set(zipfile.ZipFile(path).namelist())


def test_the_wheel_holds_what_the_repository_ships(wheel: set[str]) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("NOT TESTED: the wheel's content; this is no git checkout")
    tracked = {Path(line) for line in listed.stdout.splitlines() if (ROOT / line).is_file()}
    expected = {f"openltx/{path.as_posix()}" for path in tracked if path.parts[0] in SHIPPED and len(path.parts) > 1}
    expected |= {f"openltx/{path.name}" for path in tracked if len(path.parts) == 1 and path.suffix == ".py"}
    held = {name for name in wheel if name.startswith("openltx/")}
    assert expected - held == set()
    assert held - expected == set()


def test_the_registry_gets_every_folder_that_the_wheel_has() -> None:
    ignored = {line.strip("/") for line in (ROOT / ".comfyignore").read_text().splitlines()}
    assert ignored & SHIPPED == set()
