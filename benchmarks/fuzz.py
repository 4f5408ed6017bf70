"""`openltx bench fuzz`: how long the worst of thousands of damaged files takes, and how much memory.

The files and their limits are those of the tests (tests/test_fuzz_headers.py: headers of safetensors and GGUF files;
tests/test_fuzz_contents.py: quantised files and LoRAs; tests/test_fuzz_workflows.py: other people's workflows),
each kind in a process of its own. Memory is what the whole run adds to the process at its peak, so no file took more.
Linux only.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent / "tests"
KINDS = {"headers": "test_fuzz_headers.py", "contents": "test_fuzz_contents.py", "workflows": "test_fuzz_workflows.py"}
GOAL_SECONDS, GOAL_BYTES = 1.0, 200 * 10**6


def main() -> None:
    parser = argparse.ArgumentParser(prog="openltx bench fuzz", description=__doc__)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = {kind: _ran(TESTS / file) for kind, file in KINDS.items()}
    print(json.dumps(rows) if arguments.json else as_text(rows))


def _ran(script: Path) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([sys.executable, str(script), folder], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"bench fuzz: {script.name} failed: {done.stderr.strip().splitlines()[-1]}")
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
