"""Libraries in processes of their own, asked over pipes (worker.py answers)."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OURS = "openltx"
ROOT = Path(__file__).resolve().parent.parent
# This checkout under the package's name, wherever it lies and whether or not the interpreter has it installed.
START = """
import importlib.util, sys
root = sys.argv[1]
spec = importlib.util.spec_from_file_location("openltx", root + "/__init__.py", submodule_search_locations=[root])
sys.modules["openltx"] = package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
from openltx.benchmarks.worker import main
main(*sys.argv[2:])
"""


class Failed(Exception):
    """A process could not do what it was asked; says why, in one line."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the table. `reference`: the line of ours that runs in the same interpreter."""

    name: str
    module: str
    python: str
    reference: str


class Process:
    """What it prints goes to a file in `folder`, named after the line."""

    def __init__(self, line: Line, device: str, threads: int, folder: Path) -> None:
        self.log = folder / f"{line.name}.txt"
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "KINETO_LOG_LEVEL": "5"}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [line.python, "-c", START, str(ROOT), line.module, device, str(threads)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
            )

    def ask(self, do: str, **values: object) -> dict[str, Any]:
        """One request, one answer. Raises Failed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **values}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            last = self.log.read_text(errors="replace").strip().splitlines()[-1:]
            raise Failed(f"its process ended ({self.process.wait()}): {''.join(last)}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise Failed(answer["error"])
        return answer

    def close(self) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
            self.process.wait(timeout=30)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self.process.kill()
