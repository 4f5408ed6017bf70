"""One library in a process of its own. Reads one JSON request a line, answers each with one line; see `Worker`.

python worker.py MODULE DEVICE THREADS        MODULE: a name in peers/
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from . import measure
from .cases import read_case

Answer = dict[str, Any]


class Worker:
    """Holds one case at a time; `module`: a name in peers/. Its public methods are the requests."""

    def __init__(self, module: str, device: str) -> None:
        self.module, self.device = module, device
        self.run: measure.Run | None = None

    def load(self, case: str, dtype: str) -> Answer:
        self.drop()
        peer = importlib.import_module(f".peers.{self.module}", __package__)
        self.run = peer.build(read_case(Path(case), getattr(torch, dtype), self.device))
        return {}

    def drop(self) -> Answer:
        self.run = None
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()
        return {}

    def first(self, path: str) -> Answer:
        """Warms up, writes the outputs to a file and measures the peak."""
        peak, outputs = measure.peak_bytes(self._run(), self.device)
        tensors = [tensor.float().cpu().contiguous() for tensor in outputs]
        save_file({f"{place:02}": tensor for place, tensor in enumerate(tensors)}, path)
        return {"bytes": peak}

    def time(self) -> Answer:
        return {"seconds": measure.seconds(self._run(), self.device)}

    def operations(self) -> Answer:
        return {"operations": measure.floating_point_operations(self._run())}

    def matmul(self, dtype: str) -> Answer:
        return {"rate": measure.matmul_rate(getattr(torch, dtype), self.device)}

    def versions(self) -> Answer:
        return {"torch": torch.__version__, "threads": torch.get_num_threads()}

    def _run(self) -> measure.Run:
        assert self.run is not None, "load a case first"
        return self.run


def serve(worker: Worker, requests: Any, answers: Any) -> None:
    for line in requests:
        request = json.loads(line)
        try:
            with torch.inference_mode():
                call: Callable[..., Answer] = getattr(worker, request.pop("do"))
                answer = call(**request)
        except Exception as error:  # a peer may fail in any way; the others go on
            lines = str(error).strip().splitlines()
            answer = {"error": f"{type(error).__name__}: {lines[0] if lines else ''}"}
        print(json.dumps(answer), file=answers, flush=True)


def main(name: str, device: str, threads: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not come between the answers
    torch.set_num_threads(int(threads))
    serve(Worker(name, device), sys.stdin, answers)
