"""`openltx bench networks`: our networks beside those of other libraries, on the same weights, taking turns.

Peers: diffusers and ltx-core where they are installed (`pip install .[bench]`), ComfyUI where COMFYUI_PATH names a
checkout (COMFYUI_PYTHON: its interpreter; default: this one). Each runs in a process of its own. What is measured
and how: README.md beside this file.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from openltx.benchmarks import measure
from openltx.benchmarks.cases import Case, cases, streaming_cases, tiny_cases, write_case
from openltx.benchmarks.processes import OURS, Failed, Line, Process

DTYPES = ("float32", "bfloat16")
ROUNDS = (2, 9)  # fewest and most repetitions
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.03}  # relative rms from our float32 result
SLACK = 3.0  # times our own error, where that is larger
MIB = 2**20


@dataclass(kw_only=True)
class Row:
    """One library on one case."""

    line: str
    error: float = float("nan")
    peak: int = 0
    seconds: list[float] = field(default_factory=list)
    failure: str | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Half the range, as a share of the median."""
        return (max(self.seconds) - min(self.seconds)) / 2 / self.median


@dataclass(kw_only=True)
class Result:
    """One case in one dtype."""

    case: str
    dtype: str
    operations: int
    matmul_rate: float
    rows: dict[str, Row]


def main() -> None:
    arguments = _arguments()
    device = arguments.device
    plan = tiny_cases() if arguments.tiny else cases(arguments.only)
    streaming = not arguments.tiny and (arguments.only or "streaming") in "streaming decode"
    if not plan and not streaming:
        raise SystemExit(f"bench: expected a part of a case's name in --only, found {arguments.only!r}")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), device, arguments.threads, arguments.seconds)
        try:
            for line in bench.announcement():
                print(line, file=sys.stderr)
            for case in plan:
                dtypes = case.dtypes(everything=arguments.all or arguments.dtype is not None)
                for result in bench.run(case, [dtype for dtype in dtypes if arguments.dtype in (None, dtype)]):
                    print(as_json(result) if arguments.json else as_text(result, bench.lines), flush=True)
            if streaming:
                peaks = bench.streaming()
                print(json.dumps(peaks) if arguments.json else streaming_text(peaks), flush=True)
        finally:
            bench.close()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", metavar="TEXT", help="cases with TEXT in their names: transformer, '2.3, 4 k', decode …"
    )
    parser.add_argument("--dtype", choices=DTYPES)
    parser.add_argument("--all", action="store_true", help="also the slow cases that the default leaves out")
    parser.add_argument("--tiny", action="store_true", help="toy sizes: only to see that all peers agree")
    parser.add_argument("--seconds", type=float, default=20.0, help="of repetitions, per case and dtype")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def find_lines() -> list[Line]:
    """The libraries that are here; for ComfyUI in another interpreter, ours there too, to compare like with like."""
    lines = [Line(name=OURS, module="ours", python=sys.executable, reference=OURS)]
    for name, module in (("diffusers", "diffusers"), ("ltx-core", "ltx_core")):
        if importlib.util.find_spec(module):
            lines.append(Line(name=name, module=module, python=sys.executable, reference=OURS))
    if os.environ.get("COMFYUI_PATH"):
        python = os.environ.get("COMFYUI_PYTHON") or sys.executable
        reference = OURS if python == sys.executable else f"{OURS} (ComfyUI's Python)"
        if reference != OURS:
            lines.append(Line(name=reference, module="ours", python=python, reference=reference))
        lines.append(Line(name="ComfyUI", module="comfyui", python=python, reference=reference))
    return lines


class Bench:
    """All processes, and the folder where they meet."""

    def __init__(self, folder: Path, device: str, threads: int, seconds: float) -> None:
        self.folder, self.seconds = folder, seconds
        self.device = device
        self.lines = find_lines()
        self.processes = {line.name: Process(line, device, threads, folder) for line in self.lines}

    def close(self) -> None:
        for process in self.processes.values():
            process.close()

    def announcement(self) -> Iterator[str]:
        for name, process in self.processes.items():
            versions = process.ask("versions")
            yield f"{name}: torch {versions['torch']}, {versions['threads']} threads, {self.device}"

    def run(self, case: Case, dtypes: Sequence[str]) -> Iterator[Result]:
        if not dtypes:
            return
        path = self._write(case)
        reference: list[Tensor] | None = None
        operations = 0
        for dtype in dtypes:
            if reference is None and dtype != "float32":
                reference = self._first(self.processes[OURS], path, "float32")[1]
            rows: dict[str, Row] = {}
            for line in self.lines:
                rows[line.name], outputs = self._prepare(line, path, dtype, reference)
                if line.name == OURS and rows[OURS].failure:
                    raise RuntimeError(f"{case.name}: {rows[OURS].failure}")
                reference = outputs if reference is None else reference
            judge(rows, dtype)
            ours = self.processes[OURS]
            operations = operations or ours.ask("operations")["operations"]
            rate = ours.ask("matmul", dtype=dtype)["rate"]
            self._take_turns([row for row in rows.values() if row.failure is None])
            yield Result(case=case.name, dtype=dtype, operations=operations, matmul_rate=rate, rows=rows)
        self._drop(path)

    def streaming(self) -> dict[str, float]:
        """Peak MiB of our streaming decode, by the number of frames."""
        peaks = {}
        for case in streaming_cases():
            path = self._write(case)
            peaks[case.name] = self._first(self.processes[OURS], path, "bfloat16")[0] / MIB
            self._drop(path)
        return peaks

    def _write(self, case: Case) -> Path:
        from openltx.benchmarks.peers.ours import shapes

        path = self.folder / "case.safetensors"
        write_case(case, shapes(case), path)
        return path

    def _first(self, process: Process, path: Path, dtype: str) -> tuple[int, list[Tensor]]:
        """Load the case and run it once: peak bytes, outputs."""
        process.ask("load", case=str(path), dtype=dtype)
        outputs = self.folder / "outputs.safetensors"
        peak: int = process.ask("first", path=str(outputs))["bytes"]
        return peak, [tensor for _, tensor in sorted(load_file(outputs).items())]

    def _prepare(
        self, line: Line, path: Path, dtype: str, reference: list[Tensor] | None
    ) -> tuple[Row, list[Tensor] | None]:
        try:
            peak, outputs = self._first(self.processes[line.name], path, dtype)
        except Failed as failure:
            return Row(line=line.name, failure=str(failure)), None
        error = measure.relative_rms(outputs, reference) if reference is not None else 0.0
        return Row(line=line.name, error=error, peak=peak), outputs

    def _take_turns(self, rows: Sequence[Row]) -> None:
        """One run each, in an order that rotates, until the time is used up."""
        fewest, most = ROUNDS
        spent, turn = 0.0, 0
        while turn < fewest or (turn < most and spent < self.seconds):
            start = turn % len(rows)
            for row in (*rows[start:], *rows[:start]):
                row.seconds.append(self.processes[row.line].ask("time")["seconds"])
                spent += row.seconds[-1]
            turn += 1

    def _drop(self, path: Path) -> None:
        for process in self.processes.values():
            process.ask("drop")
        path.unlink()


def judge(rows: dict[str, Row], dtype: str) -> None:
    """Who computes something else gets no figures."""
    limit = max(TOLERANCE[dtype], SLACK * rows[OURS].error)
    for row in rows.values():
        if row.failure is None and not row.error <= limit:
            row.failure = (
                f"computes something else: relative rms {row.error:.2g} from ours, at most {limit:.2g} allowed"
            )


def as_text(result: Result, lines: Sequence[Line]) -> str:
    head = (
        f"{result.case}, {result.dtype}: {result.operations / 1e12:.3f} TFLOP, "
        f"matrix products {result.matmul_rate / 1e9:.0f} GFLOP/s"
    )
    return "\n".join([head, *(_line_text(result, line) for line in lines), _summary(result, lines), ""])


def _line_text(result: Result, line: Line) -> str:
    row = result.rows[line.name]
    if row.failure is not None:
        return f"  {line.name:<28} {row.failure}"
    share = result.operations / row.median / result.matmul_rate
    text = (
        f"  {line.name:<28} {row.median:8.3f} s ±{row.spread:4.0%} {share:5.0%} of matmul {row.peak / MIB:9.1f} MiB"
        f"  rms {row.error:.1e}"
    )
    ours = result.rows[line.reference]
    if line.module == "ours" or ours.failure is not None:
        return text
    return f"{text}  ours: {row.median / ours.median:.2f}x as fast, {ours.peak / row.peak:.2f}x its memory"


def _summary(result: Result, lines: Sequence[Line]) -> str:
    """Ours against the best of the others, which need not be the same one for both."""
    peers = [line for line in lines if line.module != "ours" and result.rows[line.name].failure is None]
    pairs = [(result.rows[line.name], result.rows[line.reference]) for line in peers]
    pairs = [(peer, ours) for peer, ours in pairs if ours.failure is None]
    if not pairs:
        return "  no peer to compare with"
    speed = min(peer.median / ours.median for peer, ours in pairs)
    memory = max(ours.peak / peer.peak for peer, ours in pairs)
    return f"  → {speed:.2f}x as fast as the fastest peer, {memory:.2f}x the memory of the leanest"


def as_json(result: Result) -> str:
    rows = {
        name: {"failure": row.failure}
        if row.failure is not None
        else {"seconds": row.seconds, "median": row.median, "peak_bytes": row.peak, "relative_rms": row.error}
        for name, row in result.rows.items()
    }
    head = {"case": result.case, "dtype": result.dtype, "operations": result.operations}
    return json.dumps(head | {"matmul_rate": result.matmul_rate, "libraries": rows})


def streaming_text(peaks: dict[str, float]) -> str:
    return "\n".join(f"{name:<56} {peak:9.1f} MiB" for name, peak in peaks.items())


if __name__ == "__main__":
    main()
