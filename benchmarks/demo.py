"""`openltx bench demo`: import times, the demo's stages, peak memory. A process of its own, so that nothing is warm."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 5


def import_seconds(statement: str) -> float:
    """Median of several fresh processes, less an empty Python."""

    def once(code: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - start

    return statistics.median(once(statement) - once("pass") for _ in range(RUNS))


def stage_seconds() -> dict[str, float]:
    """Seconds of each node of the demo, by its title."""
    import openltx
    from openltx.nodes.host.standalone.runtime import Observer

    class Clock(Observer):
        def __init__(self) -> None:
            self.seconds: dict[str, float] = {}

        def node_started(self, node_id: str, title: str) -> None:
            self.title, self.start = title, time.perf_counter()

        def node_finished(self, node_id: str, *, cached: bool) -> None:
            self.seconds[self.title] = time.perf_counter() - self.start

    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        openltx.run(prompt="a red ball bounces on a grey floor", output=Path(folder) / "ball.mp4", observer=clock)
    return clock.seconds


def rows() -> dict[str, float]:
    torch_alone = import_seconds("import torch")
    nodes = import_seconds("import openltx.nodes.registry")
    found = {
        "import openltx, seconds": import_seconds("import openltx, openltx.cli"),
        "import torch, seconds": torch_alone,
        "all nodes beyond torch, seconds": nodes - torch_alone,
    }
    stages = stage_seconds()
    found |= {f"demo: {title}, seconds": seconds for title, seconds in stages.items()}
    found["demo: all stages, seconds"] = sum(stages.values())
    found["peak memory of the process, MiB"] = peak_bytes() / 2**20
    return found


def peak_bytes() -> float:
    """The most memory that this process has had resident."""
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    table = rows()
    if parser.parse_args().json:
        print(json.dumps(table))
        return
    for name, value in table.items():
        print(f"{name:<34} {value:8.2f}")


if __name__ == "__main__":
    main()
