"""The finished steps of a stage on disk: written as they come, gone on from after a kill (samplers/replay).

A state is found by the content of everything that the stage depends on, so it serves whoever computes the same: another
process, a segment of a long clip, a tile. What a state file holds is checked like any other file.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..given_text import parse_json, quoted
from ..model_loaders.checkpoint import open_checkpoint
from ..networks.attention import backend_name
from ..package_version import version
from ..samplers.denoiser import Denoised, GuidanceMemory
from ..samplers.replay import StepRecord
from ..samplers.state import StreamState
from ..samplers.streams import Streams
from .content import NoContent, content_digest
from .host.api import compute_device, io, state_folder, warn_user
from .host.state_folder import DONE, STEP

FORMAT = "openltx_state"
KEEP_AFTER, NEVER = 60, -1  # seconds
MEMORY = tuple(GuidanceMemory.__dataclass_fields__)
MOST_EVALUATIONS = 64  # of a step
Tensors = dict[str, Tensor]
Parsed = TypeVar("Parsed")


class KeptSteps:
    """What is on disk of one stage. Where the host keeps nothing, or was told not to, it finds and writes nothing.

    content: tells all that the stage's result depends on. states: of its streams. total: its steps. after: seconds that
    the stage is expected to take from which on it is kept, unless the host has another number; -1: never.
    """

    def __init__(
        self, content: Callable[[], Mapping[str, Any]], states: Streams[StreamState], total: int, *, after: float
    ) -> None:
        files = state_folder()
        self._after = after if after < 0 or files is None or files.after is None else files.after
        self._files = files if self._after >= 0 else None
        self._states, self._total, self._began, self._first = states, total, time.monotonic(), 0
        self._untold = ""  # what of the content cannot be told
        self._key = "" if self._files is None else self._found_key(content)

    def done(self) -> Streams[Tensor] | None:
        """The denoised latents (B, T, C), where the whole stage was finished before."""
        return self._read(DONE, self._latents)

    def last(self) -> StepRecord | None:
        """The last step that was finished before."""
        record = self._read(STEP, self._record)
        self._first = 0 if record is None else record.index + 1
        if self._first:
            warn_user(f"going on after step {self._first} of {self._total}, as an earlier run has left it")
        return record

    def keep(self, record: StepRecord) -> None:
        """Write a finished step down, if the stage is a long one and has more."""
        if self._worth(record.index + 1) and record.index + 1 < self._total:
            self._write(STEP, _tensors(record), {"index": record.index, "evaluations": len(record.evaluations)})

    def finish(self, denoised: Streams[Tensor]) -> None:
        """The stage is done: its latents in place of its steps."""
        if self._worth(self._total):
            self._write(DONE, _named("latents", denoised), {})
        if self._files is not None:
            self._files.drop(self._key, STEP)

    def _found_key(self, content: Callable[[], Mapping[str, Any]]) -> str:
        machine = (version(), torch.__version__, torch.get_num_threads(), compute_device(), backend_name())
        try:
            return content_digest((FORMAT, machine, content()))
        except NoContent as error:
            self._untold = str(error)
            return ""

    def _worth(self, done: int) -> bool:
        """Whether the stage is expected to take so long that it should not be lost."""
        if self._files is None or done <= self._first:
            return False
        seconds = (time.monotonic() - self._began) / (done - self._first) * self._total
        worth = self._first > 0 or seconds >= self._after
        if worth and self._untold:
            warn_user(f"finished steps are not kept for resuming: they depend on {self._untold}")
            self._files = None
        return worth and not self._untold

    def _write(self, kind: str, tensors: Tensors, told: dict[str, Any]) -> None:
        assert self._files is not None
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        size = sum(tensor.nbytes for tensor in plain.values())
        notes = {FORMAT: json.dumps({"key": self._key, "kind": kind, **told})}
        problem = self._files.put(self._key, kind, size, partial(_saved, _unshared(plain), notes))
        if problem is not None:
            warn_user(f"finished steps are not kept for resuming: {problem}")
            self._files = None

    def _read(self, kind: str, parse: Callable[[dict[str, Any], Tensors], Parsed]) -> Parsed | None:
        """None where there is none, or where resuming was not asked for, or the file is damaged: then one line."""
        path = None if self._files is None or not self._key else self._files.found(self._key, kind)
        if path is None or self._files is None:
            return None
        if not self._files.resume:
            warn_user(f"an earlier run of the same work has left finished steps ({path}); --resume goes on from them")
            return None
        try:
            return parse(*self._opened(path, kind))
        except (ValueError, OSError, RecursionError) as error:
            warn_user(f"finished steps of an earlier run cannot be used ({error}); this stage begins anew")
            return None

    def _opened(self, path: Path, kind: str) -> tuple[dict[str, Any], Tensors]:
        file = open_checkpoint(path)
        told = parse_json(file.metadata.get(FORMAT, "null"))
        if not isinstance(told, dict) or (told.get("key"), told.get("kind")) != (self._key, kind):
            raise ValueError(f"{path.name}: expected the state of this stage, found something else")
        entries = {name: entry for name, entry in file.entries.items() if _fits(name, entry.shape, self._states)}
        if entries.keys() != file.entries.keys():
            wrong = sorted(file.entries.keys() - entries.keys())[0]
            raise ValueError(f"{path.name}: expected latents of this stage, found {wrong[:80]!r} of another shape")
        tensors = {name: tensor.clone() for name, tensor in file.load(list(entries)).items()}
        if not all(tensor.is_floating_point() and bool(tensor.isfinite().all()) for tensor in tensors.values()):
            raise ValueError(f"{path.name}: expected finite numbers, found others")
        return told, tensors

    def _latents(self, told: dict[str, Any], tensors: Tensors) -> Streams[Tensor]:
        return self._stream(tensors, "latents", required=True)

    def _record(self, told: dict[str, Any], tensors: Tensors) -> StepRecord:
        index, count = told.get("index"), told.get("evaluations")
        if type(index) is not int or not 0 <= index < self._total - 1:
            raise ValueError(f"expected a step from 0 to {self._total - 2}, found {quoted(index)}")
        if type(count) is not int or not 1 <= count <= MOST_EVALUATIONS:
            raise ValueError(f"expected 1 to {MOST_EVALUATIONS} evaluations, found {quoted(count)}")
        kept = [self._stream(tensors, f"memory.{name}") for name in MEMORY]
        return StepRecord(
            index=index,
            before=self._stream(tensors, "before", required=True),
            evaluations=tuple(self._evaluation(tensors, f"evaluations.{place}") for place in range(count)),
            after=self._stream(tensors, "after", required=True),
            memory=self._states.map(_memory, *kept),
        )

    def _evaluation(self, tensors: Tensors, name: str) -> Denoised:
        unconditioned = self._stream(tensors, f"{name}.unconditioned")
        x0 = self._stream(tensors, f"{name}.x0", required=True)
        return Denoised(x0=x0, unconditioned=unconditioned if unconditioned.present() else None)

    def _stream(self, tensors: Tensors, name: str, *, required: bool = False) -> Streams[Tensor]:
        def own(state: StreamState, stream: str) -> Tensor | None:
            found = tensors.get(f"{name}.{stream}")
            if found is None and required:
                raise ValueError(f"expected {name} of the {stream}, found none")
            return None if found is None else found.to(state.latent.device)

        return self._states.map(own, Streams(video="video", audio="audio"))


def keep_input() -> io.BaseInput:
    """The input of nodes that sample."""
    return io.Int.Input(
        "keep_after",
        default=KEEP_AFTER,
        min=NEVER,
        max=86400,
        optional=True,
        advanced=True,
        tooltip="Seconds: a stage that is expected to take longer keeps its finished steps in the output folder, and "
        "the same run goes on from them after a crash, with the same result; 0: every stage; -1: none.",
    )


def _memory(state: StreamState, *values: Tensor | None) -> GuidanceMemory:
    return GuidanceMemory(**dict(zip(MEMORY, values, strict=True)))


def _tensors(record: StepRecord) -> Tensors:
    found = _named("before", record.before) | _named("after", record.after)
    for place, evaluation in enumerate(record.evaluations):
        found |= _named(f"evaluations.{place}.x0", evaluation.x0)
        if evaluation.unconditioned is not None:
            found |= _named(f"evaluations.{place}.unconditioned", evaluation.unconditioned)
    for name in MEMORY:
        found |= _named(f"memory.{name}", record.memory.map(lambda own, name=name: getattr(own, name)))
    return found


def _named(name: str, streams: Streams[Tensor]) -> Tensors:
    return {f"{name}.{stream}": value for stream, value in vars(streams).items() if value is not None}


def _unshared(tensors: Tensors) -> Tensors:
    """Tensors that are one and the same would be refused by the writer."""
    seen: set[int] = set()
    found = {}
    for name, tensor in tensors.items():
        found[name] = tensor.clone() if tensor.data_ptr() in seen else tensor
        seen.add(tensor.data_ptr())
    return found


def _saved(tensors: Tensors, notes: dict[str, str], path: Path) -> None:
    save_file(tensors, path, notes)


def _fits(name: str, shape: tuple[int, ...], states: Streams[StreamState]) -> bool:
    state = getattr(states, re.sub(r".*\.", "", name), None) if name.endswith((".video", ".audio")) else None
    return state is not None and tuple(shape) == tuple(state.latent.shape)
