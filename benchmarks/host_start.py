"""How much longer ComfyUI takes to start with this pack: `COMFYUI_PATH=… python benchmarks/host_start.py [--modules]`.

ComfyUI and its own nodes are imported first, as when it starts; then the time from the import of the pack to its last
schema is taken. A new process each time; the median is what counts. The first start after an update, which compiles the
sources, is told apart.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

RUNS = 5
MEASURE = """
import asyncio, importlib.util, json, os, sys, time
sys.path.insert(0, os.getcwd())
sys.argv = ["main.py", "--cpu"]
import comfy.options
comfy.options.enable_args_parsing()
import utils.extra_config, execution, nodes, server
asyncio.run(nodes.init_builtin_extra_nodes())
root = {root!r}
before, wall, cpu = set(sys.modules), time.perf_counter(), time.process_time()
spec = importlib.util.spec_from_file_location("the_pack", root + "/__init__.py", submodule_search_locations=[root])
pack = sys.modules["the_pack"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pack)

async def load():
    extension = await pack.comfy_entrypoint()
    return [node.GET_SCHEMA() for node in await extension.get_node_list()]

found = asyncio.run(load())
took = time.perf_counter() - wall, time.process_time() - cpu
others = sorted(name for name in set(sys.modules) - before if "." not in name)
print(json.dumps({{"wall": took[0], "cpu": took[1], "nodes": len(found), "others": others}}))
"""


def measured(checkout: Path, compiled: str, *options: str) -> tuple[dict[str, object], str]:
    """One start: what it took, and what Python said beside it. compiled: folder for what Python has compiled."""
    code = MEASURE.format(root=str(Path(__file__).resolve().parents[1]))
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    ended = subprocess.run(
        [sys.executable, *options, "-c", code],
        cwd=checkout,
        env={**environment, "PYTHONPYCACHEPREFIX": compiled},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(ended.stdout.splitlines()[-1]), ended.stderr


def main() -> None:
    checkout = Path(os.environ["COMFYUI_PATH"].split(os.pathsep)[0])
    with tempfile.TemporaryDirectory() as compiled:
        first = measured(checkout, compiled)[0]
        if "--modules" in sys.argv:
            text = measured(checkout, compiled, "-X", "importtime")[1]
            lines = [line for line in text.splitlines() if "the_pack" in line]
            print("\n".join(sorted(lines, key=lambda line: -int(line.split("|")[1]))[:25]))
            return
        runs = [measured(checkout, compiled)[0] for _ in range(RUNS)]
    for kind in ("wall", "cpu"):
        values = [float(str(run[kind])) for run in runs]
        told = f"{kind}: median {statistics.median(values):.3f} s of {', '.join(f'{value:.3f}' for value in values)}"
        print(f"{told}; the first start after an update {first[kind]:.3f}")
    print(f"{first['nodes']} nodes; top-level modules that ComfyUI had not imported: {first['others']}")


if __name__ == "__main__":
    main()
