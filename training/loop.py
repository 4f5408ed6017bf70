"""One training loop for all stages: budget, rates, averaged weights, log, a file from which it goes on bit-equal."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from .optimiser import Optimiser, Rates, warm_constant_linear
from .store import Store

SAVE_SECONDS, LOG_SECONDS = 60.0, 15.0


class Task(Protocol):
    """What a stage trains. The batch of a step depends on its number alone, so that a stage can go on anywhere."""

    name: str
    rates: Rates
    hold: float  # share of the stage before the rates fall

    @property
    def networks(self) -> Mapping[str, nn.Module]: ...  # by their names in the store
    def loss(self, step: int, progress: float) -> tuple[Tensor, dict[str, float]]: ...
    def evaluate(self) -> dict[str, float]: ...


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long a stage lasts in all, resumed or not; steps, where given, decide instead of the time.

    minutes: of a core, not of the clock: a machine that is shared trains longer, and not less.
    """

    minutes: float = math.inf
    steps: int | None = None

    def progress(self, step: int, seconds: float) -> float:
        return step / self.steps if self.steps is not None else seconds / (60 * self.minutes)


@dataclass(kw_only=True)
class Run:
    """Where a stage stands."""

    step: int = 0
    seconds: float = 0.0  # of processor time
    averages: dict[str, Tensor] = field(default_factory=dict)
    figures: dict[str, list[float]] = field(default_factory=dict)


def train(
    task: Task,
    store: Store,
    budget: Budget,
    *,
    stop_after: int | None = None,
    save_every: int | None = None,
    after_step: Callable[[Run], None] | None = None,
) -> None:
    """Train until the budget is spent; saves every minute, and at the end. stop_after: steps of this call.

    save_every: saves after so many steps instead. after_step: called between two steps; where it raises, the state is
    saved first.

    Weights that others use are the averaged ones (`NETWORK.safetensors`); the raw ones and the optimiser's state are
    in `state_STAGE.safetensors`, which may be lost.
    """
    optimiser = Optimiser(task.networks, task.rates)
    run = _resume(task, store, optimiser)
    first, saved, logged = run.step, time.monotonic(), time.monotonic()
    while budget.progress(run.step, run.seconds) < 1 and (stop_after is None or run.step - first < stop_after):
        began = time.process_time()
        _one_step(task, optimiser, run, budget)
        run.seconds += time.process_time() - began
        now = time.monotonic()
        if now - logged > LOG_SECONDS:
            _report(task, store, run)
            logged = now
        if after_step is not None:  # before the state: a step that a kill cuts off here is made again, with its files
            _call_after(after_step, task, store, optimiser, run)
        if run.step % save_every == 0 if save_every is not None else now - saved > SAVE_SECONDS:
            _save(task, store, optimiser, run)
            saved = now
    _save(task, store, optimiser, run)
    _report(task, store, run)
    _use_averages(task, run)
    if run.step > first:
        store.log(task.name, f"after {run.step} steps, {run.seconds / 60:.1f} min: {_text(task.evaluate())}")


def _one_step(task: Task, optimiser: Optimiser, run: Run, budget: Budget) -> None:
    progress = min(1.0, budget.progress(run.step, run.seconds))
    torch.manual_seed(run.step)
    loss, figures = task.loss(run.step, progress)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = optimiser.step(warm_constant_linear(progress, run.step, hold=task.hold))
    run.step += 1
    decay = min(0.998, 1 - 10 / (run.step + 10))
    with torch.no_grad():
        for name, parameter in optimiser.parameters.items():
            run.averages[name].lerp_(parameter, 1 - decay)
    for name, value in {**figures, "gradient": norm}.items():
        run.figures.setdefault(name, []).append(value)


def _call_after(after_step: Callable[[Run], None], task: Task, store: Store, optimiser: Optimiser, run: Run) -> None:
    try:
        after_step(run)
    except BaseException:
        _save(task, store, optimiser, run)
        raise


@contextmanager
def averaged(task: Task, run: Run) -> Iterator[None]:
    """Within the block the networks have the averaged weights, which is what a stage leaves in the end."""
    raw = {name: p.detach().clone() for name, p in _parameters(task) if name in run.averages}
    _use_averages(task, run)
    try:
        yield
    finally:
        with torch.no_grad():
            for name, parameter in _parameters(task):
                if name in raw:
                    parameter.copy_(raw[name])


def _resume(task: Task, store: Store, optimiser: Optimiser) -> Run:
    state = f"state_{task.name}"
    run = Run(averages={name: parameter.detach().clone() for name, parameter in optimiser.parameters.items()})
    if not store.has(state):
        return run
    found, notes = store.load(state), store.notes(state)
    with torch.no_grad():
        for name, parameter in optimiser.parameters.items():
            parameter.copy_(found[f"raw {name}"])
            run.averages[name].copy_(found[f"average {name}"])
        for name, tensor in optimiser.state.items():
            tensor.copy_(found[f"optimiser {name}"])
    run.step, run.seconds = int(notes["step"]), float(notes["seconds"])
    return run


def _save(task: Task, store: Store, optimiser: Optimiser, run: Run) -> None:
    raw = {f"raw {name}": parameter for name, parameter in optimiser.parameters.items()}
    averages = {f"average {name}": tensor for name, tensor in run.averages.items()}
    state = {f"optimiser {name}": tensor for name, tensor in optimiser.state.items()}
    notes = {"step": str(run.step), "seconds": repr(run.seconds)}
    store.save(f"state_{task.name}", raw | averages | state, notes)
    for name, network in task.networks.items():
        weights = {key: run.averages.get(f"{name}/{key}", tensor) for key, tensor in network.state_dict().items()}
        store.save(name, weights, {"stage": task.name, **notes})


def _use_averages(task: Task, run: Run) -> None:
    with torch.no_grad():
        for name, parameter in _parameters(task):
            if name in run.averages:
                parameter.copy_(run.averages[name])


def _parameters(task: Task) -> Iterator[tuple[str, nn.Parameter]]:
    """By the names of the averages."""
    for name, network in task.networks.items():
        for key, parameter in network.named_parameters():
            yield f"{name}/{key}", parameter


def _report(task: Task, store: Store, run: Run) -> None:
    if run.figures:
        means = {name: sum(values) / len(values) for name, values in run.figures.items()}
        store.log(task.name, f"step {run.step}, {run.seconds / 60:.1f} min: {_text(means)}")
        run.figures.clear()


def _text(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
