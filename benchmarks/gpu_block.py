"""One block of the 2.3 transformer at full width, random weights, bfloat16: milliseconds and TFLOP/s on a GPU.

    python benchmarks/gpu_block.py [--json]

Operations by the closed form of spec page memory, section 10 (head gates, 0.14 % more, left out), against the rate of
large matrix products measured in the same run. Eager, and compiled with fixed shapes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from openltx.benchmarks import configs
from openltx.benchmarks.cases import Case, LoadedCase, transformer_inputs
from openltx.benchmarks.measure import matmul_rate, peak_bytes

GRIDS = ((16, 16, 24), (16, 22, 40), (16, 34, 60))  # 121 frames of 768x512, 1280x704, 1920x1088
GOALS = {14080: 0.60, 32640: 0.70}  # share of the matrix-product rate
TOY_GRIDS = ((2, 2, 4), (2, 4, 4))
WARM_UP, RUNS = 3, 10


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One number of video tokens in one mode."""

    mode: str
    tokens: int
    milliseconds: float  # median of a block
    tflops: float
    share: float  # of the matrix-product rate
    bytes_a_token: float  # peak of a forward of one block, beyond weights and inputs
    goal: float | None


class Timed(nn.Module):
    """A block with a stopwatch around it: events on the GPU's own clock, wall clock elsewhere."""

    def __init__(self, block: nn.Module, mode: str, device: str) -> None:
        super().__init__()
        self.block = torch.compile(block, dynamic=False) if mode == "compiled" else block
        self.device = device
        self.marks: list[tuple[Any, Any]] = []

    def forward(self, *inputs: object) -> object:
        start = self._now()
        outputs = self.block(*inputs)
        self.marks.append((start, self._now()))
        return outputs

    def milliseconds(self) -> float:
        """Median since the last call."""
        marks, self.marks = self.marks, []
        if self.device != "cuda":
            return float(statistics.median(1e3 * (end - start) for start, end in marks))
        torch.cuda.synchronize()
        return float(statistics.median(start.elapsed_time(end) for start, end in marks))

    def _now(self) -> Any:
        if self.device != "cuda":
            return time.perf_counter()
        event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event


def block_operations(video: int, audio: int, text: int, width: int, audio_width: int) -> int:
    """Of one block and one forward; a multiply-add counts as two. Tokens and widths of the streams."""
    d, a = width, audio_width
    linear = 32 * d * d * video + 36 * a * a * audio + 4 * (d * d + a * a) * text
    itself = 4 * d * video * video + 4 * a * audio * audio
    to_text = 4 * d * video * text + 4 * a * audio * text
    return linear + itself + to_text + 8 * a * video * audio


def measurements(
    grids: tuple[tuple[int, ...], ...], device: str, share: int, modes: tuple[str, ...]
) -> Iterator[Measurement]:
    """For every mode and grid; `share`: 1/share of the published width."""
    ceiling = matmul_rate(torch.bfloat16, device)
    for mode in modes:
        for grid in grids:
            torch.compiler.reset()
            yield _measure(grid, device, share, mode, ceiling)


@torch.inference_mode()
def _measure(grid: tuple[int, ...], device: str, share: int, mode: str, ceiling: float) -> Measurement:
    from openltx.benchmarks.peers.ours import transformer_call, transformer_config
    from openltx.networks.transformer import Transformer

    config = configs.transformer("2.3", layers=1, share=share)
    with torch.device("meta"):
        network = Transformer(transformer_config(config)).to(torch.bfloat16)
    network = network.to_empty(device=device).eval()
    for parameter in network.parameters():
        parameter.normal_(std=0.02)
    timed = Timed(network.transformer_blocks[0], mode, device)
    network.transformer_blocks = nn.ModuleList([timed])
    case = _case(config, grid, device)
    run = transformer_call(network, case)
    for _ in range(WARM_UP):
        run()
    timed.milliseconds()
    for _ in range(RUNS):
        run()
    milliseconds = timed.milliseconds()
    video, audio = case.inputs["video_latent"].shape[1], case.inputs["audio_latent"].shape[1]
    text = case.inputs["video_context"].shape[1]
    widths = config["cross_attention_dim"], config["audio_cross_attention_dim"]
    rate = block_operations(video, audio, text, *widths) / milliseconds * 1e3
    return Measurement(
        mode=mode,
        tokens=video,
        milliseconds=milliseconds,
        tflops=rate / 1e12,
        share=rate / ceiling,
        bytes_a_token=peak_bytes(run, device)[0] / video,
        goal=GOALS.get(video),
    )


def _case(config: configs.Config, grid: tuple[int, ...], device: str) -> LoadedCase:
    case = Case(name="block", component="transformer", generation="2.3", config=config, size=grid)
    exact = ("positions", "sigma")
    inputs = {
        name: tensor.to(device, None if name.endswith(exact) else torch.bfloat16)
        for name, tensor in transformer_inputs(case, torch.Generator().manual_seed(0)).items()
    }
    return LoadedCase(
        component="transformer",
        generation="2.3",
        config=config,
        tensors={},
        inputs=inputs,
        size=grid,
        dtype=torch.bfloat16,
        device=device,
        path=Path(),
    )


def as_text(row: Measurement) -> str:
    goal = "" if row.goal is None else f"  goal {row.goal:.0%}: {'reached' if row.share >= row.goal else 'missed'}"
    return (
        f"{row.mode:<9} {row.tokens:6} tokens {row.milliseconds:9.2f} ms {row.tflops:8.2f} TFLOP/s "
        f"{row.share:5.0%} of matmul {row.bytes_a_token:9.0f} B a token{goal}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="tiny, eager, on the CPU: to test this script")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not arguments.toy and not torch.cuda.is_available():
        raise SystemExit("gpu_block: expected a CUDA device, found none; --toy runs tiny sizes on the CPU")
    rows = (
        measurements(TOY_GRIDS, "cpu", 32, ("eager",))
        if arguments.toy
        else measurements(GRIDS, "cuda", 1, ("eager", "compiled"))
    )
    for row in rows:
        print(json.dumps(asdict(row)) if arguments.json else as_text(row), flush=True)


if __name__ == "__main__":
    main()
