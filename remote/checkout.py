"""ComfyUI from a checkout: started for one run on a free port of this machine only, ended afterwards.

As a process of its own rather than inside ours: its `nodes`, `utils` and `server` modules would meet other packages'
names, and it may have an environment of its own (comfyui_host.md section 6.1).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ..nodes.host.files import MODEL_ROLES, PACKAGE_ROOT
from .server import Refused, Server, free_port

OPTIONS = ("--disable-auto-launch", "--disable-api-nodes", "--database-url", "sqlite:///:memory:")
ENVIRONMENTS = (".venv/bin/python", "venv/bin/python", ".venv/Scripts/python.exe", "venv/Scripts/python.exe")
PORTABLE = "../python_embeded/python.exe"  # so spelt in ComfyUI's portable edition
START, END, PAUSE = 300.0, 20.0, 0.1  # seconds it may take to start and to end, and between questions
ACCELERATOR = """
import torch
print("found", torch.cuda.is_available() or torch.backends.mps.is_available() or torch.xpu.is_available())
"""
PACK = """
import importlib.util, os, sys, threading

def end_with_whoever_started_us():
    while os.read(0, 1):  # nothing comes: it ends when that process does, however it ends
        pass
    os._exit(1)

threading.Thread(target=end_with_whoever_started_us, daemon=True).start()
spec = importlib.util.spec_from_file_location({name!r}, {entry!r}, submodule_search_locations=[{root!r}])
package = sys.modules[{name!r}] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
comfy_entrypoint = package.comfy_entrypoint
"""


@contextmanager
def server_of(
    checkout: Path,
    place: Path,
    *,
    models: Sequence[Path],
    device: str | None,
    metadata: bool,
    stop: Callable[[], bool],
    packs: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """A server of the checkout with this package in it; its outputs and its log go below the folder `place`.

    Its own models and packs are there too. packs: more of them for this run, their Python by name.
    device: "cpu", "cuda" or None: an accelerator if its Python sees one.
    Raises ValueError for a folder that is no checkout and for another device, RuntimeError where it does not start,
    KeyboardInterrupt once `stop` is true.
    """
    check_checkout(checkout)
    place = place.absolute()
    python = python_of(checkout)
    on_cpu = _on_cpu(python, checkout, device)
    for name in ("input", "output", "temp", "user"):
        (place / name).mkdir(parents=True)
    for name, text in {"openltx": _pack(), **(packs or {})}.items():
        (place / "custom_nodes" / name).mkdir(parents=True)
        (place / "custom_nodes" / name / "__init__.py").write_text(text, encoding="utf-8")
    (place / "paths.yaml").write_text(json.dumps(_folders(place, models)), encoding="utf-8")  # JSON is YAML
    port = free_port()
    words = [*OPTIONS, "--port", str(port), "--extra-model-paths-config", str(place / "paths.yaml")]
    words += [
        word for name in ("input", "output", "temp", "user") for word in (f"--{name}-directory", str(place / name))
    ]
    words += ["--cpu"] * on_cpu + ["--disable-metadata"] * (not metadata)
    with (place / "log").open("wb") as log:
        command = [str(python), "main.py", *words]
        # A session of its own: Ctrl-C reaches us alone, and we end it in order.
        process = subprocess.Popen(
            command, cwd=checkout, start_new_session=True, stdin=subprocess.PIPE, stdout=log, stderr=log
        )
    try:
        server = Server(f"http://127.0.0.1:{port}")
        _wait(server, process, place / "log", partial(_not_ready, checkout, python), stop)
        yield server
    finally:
        _end(process)


def check_checkout(checkout: Path) -> None:
    """Raises ValueError for a folder that is no checkout of ComfyUI."""
    if not (checkout / "main.py").is_file() or not (checkout / "comfy").is_dir():
        raise ValueError(f"--comfyui: expected a ComfyUI checkout (main.py and comfy/), found {str(checkout)!r}")


def python_of(checkout: Path) -> Path:
    """The Python of the checkout's own environment, or the one that runs us."""
    places = [checkout / name for name in (*ENVIRONMENTS, PORTABLE)]
    return next((path.absolute() for path in places if path.is_file()), Path(sys.executable))


def _on_cpu(python: Path, checkout: Path, device: str | None) -> bool:
    if device not in (None, "cpu", "cuda", "mps"):
        raise ValueError(f"device {device!r}: ComfyUI takes cpu or its accelerator (cuda, mps)")
    command = [str(python), "-c", ACCELERATOR]
    asked = subprocess.run(command, capture_output=True, text=True, check=False, start_new_session=True)
    if asked.returncode != 0:
        raise RuntimeError(_not_ready(checkout, python, asked.stderr))
    found = asked.stdout.split()[-1] == "True"
    if device not in (None, "cpu") and not found:
        raise ValueError(f"device {device!r}: ComfyUI's Python {python} sees no accelerator; use --device cpu")
    return device == "cpu" or not found


def _pack() -> str:
    entry = str(PACKAGE_ROOT / "__init__.py")
    return PACK.format(name="openltx_of_the_command_line", entry=entry, root=str(PACKAGE_ROOT))


def _folders(place: Path, models: Sequence[Path]) -> dict[str, dict[str, str]]:
    """Search paths beside ComfyUI's own: our pack, and the roots of models in ComfyUI's layout."""
    roles = {role: "\n".join(str((root / role).absolute()) for root in models) for role in MODEL_ROLES}
    return {"openltx": {"custom_nodes": str(place / "custom_nodes"), **(roles if models else {})}}


def _wait(
    server: Server,
    process: subprocess.Popen[bytes],
    log: Path,
    reason: Callable[[str], str],
    stop: Callable[[], bool],
) -> None:
    """Until it answers."""
    end = time.monotonic() + START
    while time.monotonic() < end:
        if stop():
            raise KeyboardInterrupt
        if process.poll() is not None:
            raise RuntimeError(reason(log.read_text(encoding="utf-8", errors="replace")))
        try:
            server.get("/system_stats")
            return
        except (OSError, Refused):
            time.sleep(PAUSE)
    raise RuntimeError(f"ComfyUI did not answer within {START:.0f} s of its start")


def _not_ready(checkout: Path, python: Path, text: str) -> str:
    """The last line of a traceback names what is missing."""
    last = (text.strip().splitlines() or ["it said nothing"])[-1]
    return f"ComfyUI in {checkout} does not start with {python}: {last}; run openltx with the Python that it runs with"


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert process.stdin is not None
    process.stdin.close()
