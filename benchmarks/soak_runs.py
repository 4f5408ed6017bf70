"""Hundreds of mixed workflows in one process, or through one ComfyUI server: memory, files and threads at the end.

Mixed are: recipes, sizes, lengths, seeds, step rules, containers, refusals and runs that the user stops.
"""

from __future__ import annotations

import gc
import os
import random
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from openltx.api import run
from openltx.nodes.host.standalone.runtime import Interrupted, Observer

SETTLED = 20  # runs after which everything has been loaded once
GOAL = 0.03  # of the resident memory then
Action = Callable[[], None]


@dataclass(frozen=True)
class Held:
    """What a process holds: bytes of resident memory, open files, threads."""

    resident: int
    files: int
    threads: int


def held(process: int | str = "self") -> Held:
    """Of a process, as Linux tells it."""
    place = Path("/proc") / str(process)
    pages = int((place / "statm").read_text().split()[1])
    count = [len(os.listdir(place / name)) for name in ("fd", "task")]
    return Held(pages * os.sysconf("SC_PAGE_SIZE"), *count)


def runs(count: int, seed: int, root: Path) -> dict[str, Any]:
    """`count` runs in this process. Raises AssertionError where files or threads grow, or memory by more than GOAL."""
    torch.set_num_threads(1)
    actions, kinds, early = mixed(random.Random(seed), root), dict[str, int](), None
    for index in range(count):
        name, action = next(actions)
        action()
        kinds[name] = kinds.get(name, 0) + 1
        if index + 1 == SETTLED or (index + 1) % 50 == 0:
            gc.collect()
            now = held()
            print(f"after {index + 1} runs: {now}", file=sys.stderr, flush=True)
            early = early or now
    gc.collect()
    return compared(early or held(), held()) | {"runs": count, "kinds": kinds}


def compared(early: Held, late: Held) -> dict[str, Any]:
    """Raises AssertionError where something grew."""
    growth = late.resident / early.resident - 1
    row = {"resident_mb": round(late.resident / 1e6, 1), "growth": round(growth, 4)}
    row |= {"files": late.files, "threads": late.threads}
    assert late.files <= early.files, f"open files grew: {early} -> {late}"
    assert late.threads <= early.threads, f"threads grew: {early} -> {late}"
    assert growth <= GOAL, f"resident memory grew by {growth:.1%}, more than {GOAL:.0%}: {early} -> {late}"
    return row


class Silent(Observer):
    def warning(self, text: str) -> None:
        pass


class Stopping(Silent):
    """Stops the run at its n-th word of progress."""

    def __init__(self, stop: threading.Event, after: int) -> None:
        self.stop, self.left = stop, after

    def node_progress(self, node_id: str, done: int, total: int, preview: Any) -> None:
        self.left -= 1
        if self.left <= 0:
            self.stop.set()


def mixed(rng: random.Random, root: Path) -> Iterator[tuple[str, Action]]:
    """Names of kinds, and what to do, without end."""
    kinds = (_whole, _stopped, _refused, _refused, _sound, _sampler)
    while True:
        kind = rng.choice(kinds)
        yield kind.__name__.lstrip("_"), kind(rng, root)


def sizes(rng: random.Random) -> dict[str, Any]:
    place = {"width": rng.choice((32, 64, 96)), "height": rng.choice((32, 64)), "frames": rng.choice((1, 9))}
    return place | {"steps": rng.choice((1, 2)), "seed": rng.randrange(99)}


def _made(root: Path, workflow: str = "text_to_av", **inputs: Any) -> None:
    folder = root / "made"
    folder.mkdir(exist_ok=True)
    options: dict[str, Any] = {"observer": Silent(), "device": "cpu", **inputs}
    try:
        run(workflow, output_folder=folder, **options)
    finally:
        shutil.rmtree(folder)


def _whole(rng: random.Random, root: Path) -> Action:
    keep = rng.choice((0, -1))
    container = rng.choice(("mp4", "mkv", "webm", "gif"))
    return lambda: _made(root, **sizes(rng), prompt=f"a ball {rng.randrange(4)}", container=container, keep_after=keep)


def _stopped(rng: random.Random, root: Path) -> Action:
    def action() -> None:
        stop = threading.Event()
        try:
            _made(root, **sizes(rng), prompt="a box", observer=Stopping(stop, rng.randrange(1, 4)), stop=stop)
        except Interrupted:
            pass

    return action


def _refused(rng: random.Random, root: Path) -> Action:
    settings = {"settings": {"Sample.noise_seed": "x"}}
    wrong: dict[str, Any] = rng.choice(({"frames": -3}, settings, {"checkpoint": "no.gguf"}))

    def action() -> None:
        try:
            _made(root, prompt="a", **wrong)
        except ValueError:
            return
        raise AssertionError(f"{wrong} was taken")

    return action


def _sound(rng: random.Random, root: Path) -> Action:
    return lambda: _made(root, "text_to_audio", prompt="a knock", steps=1, frames=rng.choice((9, 17)))


def _sampler(rng: random.Random, root: Path) -> Action:
    preset = rng.choice(("official", "community"))
    return lambda: _made(root, "one_stage", **sizes(rng), prompt="a triangle", preset=preset)
