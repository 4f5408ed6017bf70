"""`openltx bench generate`: a whole job: seconds and peak memory of each node, each step, share of the roofline.

The bundled workflow text_to_av on the embedded model, or on files of yours (--checkpoint, --text-encoder). The share:
the operations of all evaluations, as the memory plan counts them, a second of sampling, over the rate of large matrix
products measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import openltx
from openltx.benchmarks.demo import peak_bytes
from openltx.benchmarks.measure import matmul_rate
from openltx.model_loaders.parts import open_model, open_text
from openltx.nodes.host.standalone.runtime import Observer
from openltx.plan.needs import Tokens, denoise_need
from openltx.samplers.shapes import audio_latent_frames, latent_grid

SAMPLE = "Sample"


@dataclass
class Profile(Observer):
    """Of each node: seconds, the process's peak so far; of the sampler: the seconds of each step."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)

    def node_started(self, node_id: str, title: str) -> None:
        self.title, self.start = title, time.perf_counter()
        self.last = self.start

    def node_progress(self, node_id: str, done: int, total: int, preview: Any) -> None:
        now = time.perf_counter()
        if self.title == SAMPLE:
            self.steps.append(now - self.last)
        self.last = now

    def node_finished(self, node_id: str, *, cached: bool) -> None:
        seconds = time.perf_counter() - self.start
        row = {"node": self.title, "seconds": seconds, "process peak MiB": peak_bytes() / 2**20}
        if torch.cuda.is_available():
            row["GPU peak MiB"] = torch.cuda.max_memory_allocated() / 2**20
        self.rows.append(row)


def profiled(options: argparse.Namespace) -> dict[str, Any]:
    """All that is printed."""
    profile, inputs = Profile(), {"width": options.width, "height": options.height, "frames": options.frames}
    given = {name: value for name in ("checkpoint", "text_encoder") if (value := getattr(options, name))}
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "clip.mp4"
        openltx.run(output=output, observer=profile, device=options.device, steps=options.steps, **inputs, **given)
    device = "cuda" if torch.cuda.is_available() and options.device != "cpu" else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    file = options.checkpoint or str(Path(openltx.__file__).parent / "assets" / "openltx-tiny-2.3.safetensors")
    grid = latent_grid(options.frames, options.height, options.width)
    text = open_text(options.text_encoder, file, dtype=dtype).encoder.source().length
    tokens = Tokens(video=grid.tokens, audio=audio_latent_frames(options.frames, options.fps), text=text)
    need = denoise_need(open_model(file, dtype=dtype).config, dtype, torch.device(device), tokens)
    sampling = sum(profile.steps)
    evaluations = options.passes * len(profile.steps)
    rate = need.operations * evaluations / sampling if sampling else 0.0
    ceiling = matmul_rate(dtype, device)
    return {
        "nodes": profile.rows,
        "step seconds": profile.steps,
        "evaluations": evaluations,
        "operations an evaluation": need.operations,
        "FLOP/s of sampling": rate,
        "FLOP/s of matrix products": ceiling,
        "share of the roofline": rate / ceiling,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint")
    parser.add_argument("--text-encoder")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--height", type=int, default=128)
    parser.add_argument("--frames", type=int, default=49)
    parser.add_argument("--fps", type=float, default=24.0)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--passes", type=int, default=2, help="guidance passes of the workflow: 2 with text guidance")
    parser.add_argument("--device")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = profiled(options)
    if options.json:
        print(json.dumps(found))
        return
    for row in found["nodes"]:
        print("  ".join(f"{value:>16}" if isinstance(value, str) else f"{value:9.2f}" for value in row.values()))
    steps = sorted(found["step seconds"])
    print(f"steps: {len(steps)}, median {steps[len(steps) // 2]:.3f} s, slowest {steps[-1]:.3f} s")
    share = found["share of the roofline"]
    print(f"sampling: {found['FLOP/s of sampling'] / 1e9:.1f} GFLOP/s, {share:.0%} of large matrix products")


if __name__ == "__main__":
    main()
