"""What a run may not do: open a connection, load a pickle, leave its folders."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from openltx.api import load_workflow, run
from openltx.nodes.host import api as host
from openltx.nodes.host.standalone.settings import Settings, model_folders_below, use
from openltx.nodes.inspect import InspectFile

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = (
    "adopt", "commands", "conformance", "media", "model_loaders", "networks", "nodes", "plan", "remote", "samplers",
    "shots", "training",
)  # fmt: skip
PICKLES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
PICKLING_CALLS = {"torch.load", "torch.save", "numpy.load", "np.load", "torch.jit.load", "torch.package"}
NETWORK = {"socket", "ssl", "http", "urllib", "ftplib", "smtplib", "requests", "httpx", "aiohttp", "huggingface_hub"}
MAY_CONNECT = {
    "model_loaders/download/": "a download that was asked for",
    "remote/server.py": "the one ComfyUI server that the user named, or our own of `run --host comfyui`",
}
HARMLESS = {"urllib.parse"}

# Audit events are raised below every library, and a hook cannot be taken off again.
WATCHED = """
import sys

def hook(event, arguments):
    if event.startswith("socket.") or event == "pickle.find_class" or event == "urllib.Request":
        raise RuntimeError(f"forbidden: {event} {arguments}")

sys.addaudithook(hook)
from openltx.cli import main
raise SystemExit(main(sys.argv[1:]))
"""
SMALL = ["--width", "64", "--height", "64", "--frames", "9", "--steps", "2"]
COMMANDS = {
    "generate": ["generate", "a red ball", "-o", "ball.mp4", *SMALL],
    "reproduce": ["reproduce", "ball.mp4"],
    "doctor": ["doctor"],
    "inspect": ["inspect", str(ROOT / "assets" / "openltx-tiny-2.3.safetensors"), "--hash"],
    "workflows": ["workflows"],
    "download": ["download"],
}


def sources() -> Iterator[tuple[str, ast.AST]]:
    """Every module that is installed."""
    folders = [path for name in SHIPPED for path in (ROOT / name).rglob("*.py")]
    for path in sorted([*folders, *ROOT.glob("*.py")]):
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module)


def test_no_module_loads_pickles() -> None:
    found = []
    for path, tree in sources():
        found += [f"{path}: {name}" for name in imports(tree) if name.split(".")[0] in PICKLES]
        attributes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
        found += [f"{path}: {ast.unparse(node)}" for node in attributes if ast.unparse(node) in PICKLING_CALLS]
        keywords = (node for node in ast.walk(tree) if isinstance(node, ast.keyword))
        found += [f"{path}: allow_pickle" for node in keywords if node.arg == "allow_pickle"]
    assert found == []


def test_only_the_named_modules_can_connect() -> None:
    found: list[str] = []
    used = set()
    for path, tree in sources():
        names = [name for name in imports(tree) if name.split(".")[0] in NETWORK and name not in HARMLESS]
        place = next((place for place in MAY_CONNECT if path.startswith(place)), None)
        if names and place is not None:
            used.add(place)
        elif names:
            found += [f"{path}: {name}" for name in names]
    assert found == []
    assert used == set(MAY_CONNECT)  # the search finds what there is


def watched(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WATCHED, *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_no_command_opens_a_socket_or_a_pickle(tmp_path: Path) -> None:
    for name, words in COMMANDS.items():
        done = watched(tmp_path, *words)
        assert done.returncode == 0, f"{name}: {done.stdout[-500:]}{done.stderr[-2000:]}"
    assert (tmp_path / "ball.mp4").stat().st_size > 1000


def test_the_watch_sees_a_connection(tmp_path: Path) -> None:
    """A download that is asked for does connect: the test above can fail."""
    done = watched(tmp_path, "download", "ltx-2.3-22b-dev", "--dry-run")
    assert done.returncode != 0
    assert "forbidden: socket." in done.stderr


def test_the_demo_runs_without_a_network(tmp_path: Path) -> None:
    isolated = ["unshare", "--net", "--map-root-user"]
    if shutil.which("unshare") is None or subprocess.run([*isolated, "true"], capture_output=True).returncode != 0:
        pytest.skip("NOT TESTED: a run in a namespace without network, which this system does not allow")
    command = [*isolated, sys.executable, "-m", "openltx", *COMMANDS["generate"]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ball.mp4").is_file()


# names and paths


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A workplace with models/, input/ and output/, beside a secret."""
    for name in ("models/vae", "input", "output"):
        (tmp_path / "place" / name).mkdir(parents=True)
    for secret in ("secret.safetensors", "secret.png"):
        (tmp_path / secret).write_bytes(b"secret")
    folder = tmp_path / "place"
    settings = Settings(
        input_folder=folder / "input",
        output_folder=folder / "output",
        model_folders=model_folders_below(folder / "models"),
    )
    with use(settings):
        yield folder


OUTWARD = [
    "../../../secret{}",
    "../../secret{}",
    "../models/../../secret{}",
    "a/../../../../secret{}",
    "..\\..\\..\\secret{}",
    "./.././../../secret{}",
    "secret{}\0.safetensors",
    "",
    ".",
    "..",
    "/",
    "~/secret{}",
    "%2e%2e/%2e%2e/secret{}",
]


@pytest.mark.parametrize("name", OUTWARD)
@pytest.mark.parametrize("role", ["vae", "loras", "checkpoints"])
def test_no_model_name_leads_out_of_its_folder(place: Path, role: str, name: str) -> None:
    named = name.format(".safetensors")
    with pytest.raises(ValueError, match=rf"^{role}: expected "):
        host.model_path(role, named)
    with pytest.raises(ValueError, match=r"expected "):
        InspectFile.execute(f"{role}/{named}")


@pytest.mark.parametrize("name", OUTWARD)
@pytest.mark.parametrize("where", ["", " [output]", " [temp]", " [input]"])
def test_no_input_name_leads_out_of_its_folder(place: Path, name: str, where: str) -> None:
    with pytest.raises(ValueError, match="^input file: expected "):
        host.input_file(name.format(".png") + where)


@pytest.mark.parametrize("prefix", ["../x", "a/../../x", "/tmp/x", "..", "", "a/..", "~/../../x/../../y"])
def test_no_output_name_leads_out_of_its_folder(place: Path, prefix: str) -> None:
    with pytest.raises(ValueError, match="filename prefix: expected a name inside"):
        host.output_file(prefix, ".png")
    assert sorted(entry.name for entry in place.iterdir()) == ["input", "models", "output"]


def test_a_shared_workflow_cannot_write_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    prompt = load_workflow("text_to_av")
    (saver,) = (node for node in prompt.values() if node["class_type"] == "OpenLTXSaveAV")
    saver["inputs"]["filename_prefix"] = "../../x"
    with pytest.raises(ValueError, match="filename prefix: expected a name inside"):
        run(prompt, output_folder=str(folder), width=64, height=64, frames=9, steps=1)
    assert list(folder.iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
