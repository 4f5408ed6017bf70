"""Prompts through one ComfyUI server: what its process holds at the end."""

from __future__ import annotations

import os
import random
import shutil
import sys
from pathlib import Path
from typing import Any

from openltx.api import load_workflow
from openltx.benchmarks.soak_runs import SETTLED, compared, held
from openltx.remote import job
from openltx.remote.checkout import server_of

SIZES = {"width": 64, "height": 32, "frames": 9, "steps": 1}


def prompts(count: int, seed: int, root: Path, comfyui: str | None) -> dict[str, Any]:
    """`count` prompts. Raises AssertionError where files, threads or memory of the server grow."""
    checkout = comfyui or os.environ.get("COMFYUI_PATH", "").split(os.pathsep)[0]
    if not checkout:
        raise SystemExit("soak: expected --comfyui DIR or COMFYUI_PATH, found neither")
    rng, early = random.Random(seed), None
    watch = job.Watch(say=lambda line: None, part=lambda title, done, total: None, stop=lambda: False)
    options: dict[str, Any] = {"models": [], "device": "cpu", "metadata": True, "stop": watch.stop}
    with server_of(Path(checkout), root / "server", **options) as server:
        for index in range(count):
            name = rng.choice(("text_to_av", "text_to_av", "text_to_audio"))
            given = {
                key: str(value) for key, value in SIZES.items() if name == "text_to_av" or key in ("frames", "steps")
            }
            given |= {"seed": str(rng.randrange(99)), "prompt": f"a ball {rng.randrange(5)}"}
            (root / "made").mkdir()
            job.execute(server, load_workflow(name), given, {}, root / "made", watch)
            shutil.rmtree(root / "made")
            if index + 1 == min(SETTLED, count):
                early = held(server_process())
                print(f"after {index + 1} prompts: {early}", file=sys.stderr, flush=True)
        late = held(server_process())
    return compared(early or late, late) | {"prompts": count}


def server_process() -> int:
    """The one child of this process."""
    (child,) = Path("/proc/self/task", str(os.getpid()), "children").read_text().split()
    return int(child)
