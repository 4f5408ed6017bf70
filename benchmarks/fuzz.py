"""`openltx bench fuzz`: how long the worst of thousands of damaged inputs takes, and how much memory.

The inputs and their limits are those of the tests (one loop for all: hunt.py): headers of safetensors and GGUF files,
quantised files and LoRAs, media files, other people's workflows, our own ones, tokenizers, configurations, settings,
manifests and kept steps; each in a process of its own. Memory is what the whole run adds to the process at its peak, so
no file took more. Linux only.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent / "tests"
GOAL_SECONDS, GOAL_BYTES = 1.0, 200 * 10**6


@dataclass(frozen=True)
class Kind:
    """script: of tests/. groups: of inputs of its kind, each as many as it is asked for. count: a group, usually."""

    script: str
    groups: int
    count: int


KINDS = {
    "headers": Kind("test_fuzz_headers.py", 2, 1500),
    "contents": Kind("test_fuzz_contents.py", 2, 1200),
    "media": Kind("test_fuzz_media.py", 1, 500),
    "workflows": Kind("test_fuzz_workflows.py", 1, 1200),
    "inputs": Kind("test_fuzz_inputs.py", 6, 100),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="openltx bench fuzz", description=__doc__)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = {name: _ran(kind, kind.count) for name, kind in KINDS.items()}
    print(json.dumps(rows) if arguments.json else as_text(rows))


def inputs(count: int) -> dict[str, dict[str, float]]:
    """About `count` damaged inputs over all parsers, as many a group."""
    share = -(-count // sum(kind.groups for kind in KINDS.values()))
    return {name: _ran(kind, share) for name, kind in KINDS.items()}


def _ran(kind: Kind, count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(TESTS / kind.script), folder, str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"bench fuzz: {kind.script} failed: {done.stderr.strip().splitlines()[-1]}")
    row: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return row


def as_text(rows: dict[str, dict[str, float]]) -> str:
    lines = [
        f"{kind:<10}{row['refused']:>6.0f} refused {row['opened']:>6.0f} opened   "
        f"slowest {row['slowest_seconds']:.3f} s   peak {row['peak_bytes'] / 1e6:.1f} MB"
        for kind, row in rows.items()
    ]
    return "\n".join([*lines, f"goals: {GOAL_SECONDS:g} s, {GOAL_BYTES / 1e6:g} MB"])


if __name__ == "__main__":
    main()
