"""`openltx bench soak`: what an hour or a month of other people's work does to a process, its files and its memory.

    --part kills   kill -9 at random moments over generate, decode, write, download and training (soak_kills.py)
    --part runs    hundreds of mixed workflows in one process (soak_runs.py)
    --part server  the same through a ComfyUI server (soak_runs.py; --comfyui DIR)
    --part inputs  thousands of damaged inputs over all the parsers (the fuzz scripts in tests/)

Each part ends with a line of figures, or at the first thing that was lost. Linux only.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

KILLS, RUNS, PROMPTS, INPUTS = 200, 500, 100, 5000
PARTS = ("kills", "runs", "server", "inputs")


def main() -> None:
    parser = argparse.ArgumentParser(prog="openltx bench soak", description=__doc__)
    parser.add_argument("--part", choices=PARTS, default=None, help="default: all but server")
    parser.add_argument("--count", type=int, help="kills, runs, prompts or inputs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="kills: of jobs whose name holds this")
    parser.add_argument("--comfyui", help="server: a checkout of ComfyUI")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = {}
    for part in (arguments.part,) if arguments.part else PARTS[:2] + PARTS[3:]:
        start = time.monotonic()
        rows[part] = {**measured(part, arguments), "minutes": round((time.monotonic() - start) / 60, 1)}
    print(json.dumps(rows) if arguments.json else "\n".join(f"{part}: {row}" for part, row in rows.items()))


def measured(part: str, arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="openltx-soak-") as folder:
        if part == "kills":
            from openltx.benchmarks.soak_kills import kills

            return kills(arguments.count or KILLS, arguments.seed, Path(folder), arguments.only)
        if part == "runs":
            from openltx.benchmarks.soak_runs import runs

            return runs(arguments.count or RUNS, arguments.seed, Path(folder))
        if part == "server":
            from openltx.benchmarks.soak_server import prompts

            return prompts(arguments.count or PROMPTS, arguments.seed, Path(folder), arguments.comfyui)
        from openltx.benchmarks.fuzz import inputs

        return inputs(arguments.count or INPUTS)


if __name__ == "__main__":
    main()
