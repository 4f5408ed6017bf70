"""The plan: for every phase the fastest way that fits, or what would have to change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from .machine import Machine
from .phases import Job, Phase, Way, ways
from .sizes import FORMATS, ModelSizes, in_format

PHASES: tuple[Phase, ...] = ("text", "denoise", "upscale", "decode", "sound")
CHANGES = 3
SHARES = (0.8, 0.6, 0.4, 0.25, 0.1)  # of the frames, or of the area
WEIGHTS = {0.02: "fp8", 0.1: "nvfp4"}  # what they cost, in the same measure
GIB = 2**30


class DoesNotFit(ValueError):
    """No way of a phase fits; the message has the numbers and the cheapest changes."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One way a phase, in the order in which they run; phases never overlap."""

    model: str
    job: Job
    machine: Machine
    ways: tuple[Way, ...]

    @property
    def seconds(self) -> float:
        return sum(way.seconds for way in self.ways)

    def way(self, phase: Phase) -> Way:
        return next(way for way in self.ways if way.phase == phase)

    def as_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "job": asdict(self.job),
            "machine": asdict(self.machine),
            "phases": [asdict(way) for way in self.ways],
        }

    def lines(self) -> list[str]:
        """A table, with what it is for above and the largest figures below."""
        free = f"{self.machine.free_ram / GIB:.1f} GiB of RAM free"
        if not self.machine.on_cpu:
            free = f"{self.machine.free_vram / GIB:.1f} GiB on {self.machine.device} and {free}"
        rate = f"seconds for {self.machine.rate / 1e12:.3g} TFLOP/s"
        lines = [
            f"{self.model}: {self.job}",
            f"{free}; {rate}",
            f"{'phase':<9}{'VRAM, GiB':>10}{'RAM, GiB':>10}{'seconds':>9}  how",
        ]
        for way in self.ways:
            sizes = f"{way.vram / GIB:>10.2f}{way.ram / GIB:>10.2f}{way.seconds:>9.1f}"
            lines.append(f"{way.phase:<9}{sizes}  {way.how}")
        return [*lines, self._peaks()]

    def _peaks(self) -> str:
        first, last = max(self.ways, key=lambda way: way.vram), max(self.ways, key=lambda way: way.ram)
        vram = "" if self.machine.on_cpu else f"{first.vram / GIB:.2f} GiB of VRAM ({first.phase}), "
        return f"at most {vram}{last.ram / GIB:.2f} GiB of RAM ({last.phase}); {self.seconds:.0f} s in all"


def make_plan(model: ModelSizes, job: Job, machine: Machine, given: Mapping[Phase, int] | None = None) -> Plan:
    """given: phases whose way the user has chosen, by its number from 0, the fastest; it is not asked whether it fits.

    Raises DoesNotFit where no way of a phase fits.
    """
    chosen = []
    for phase in PHASES:
        found = list(_chosen(phase, model, job, machine, (given or {}).get(phase)))
        if found:
            chosen.append(found[0])
    return Plan(model=model.name, job=job, machine=machine, ways=tuple(chosen))


def fitting(phase: Phase, model: ModelSizes, job: Job, machine: Machine) -> Iterator[Way]:
    """The ways of a phase that fit, from the fastest on."""
    return (way for way in ways(phase, model, job, machine) if fits(way, machine))


def fits(way: Way, machine: Machine) -> bool:
    """Whether a way's predicted peak is within what is free."""
    return way.vram <= machine.vram and way.ram <= machine.ram


def _chosen(phase: Phase, model: ModelSizes, job: Job, machine: Machine, given: int | None) -> Iterator[Way]:
    every = ways(phase, model, job, machine)
    if given is not None:
        known = list(every)
        if not 0 <= given < len(known):
            raise ValueError(f"{phase}: expected a way from 0 to {len(known) - 1}, found {given}")
        yield known[given]
        return
    tried = []
    for way in every:
        if fits(way, machine):
            yield way
            return
        tried.append(way)
    if tried:
        raise DoesNotFit(_refusal(phase, tried, model, job, machine))


def _refusal(phase: Phase, tried: list[Way], model: ModelSizes, job: Job, machine: Machine) -> str:
    least = min(tried, key=lambda way: (way.vram, way.ram))
    changes = [change for _, change in zip(range(CHANGES), _changes(phase, model, job, machine), strict=False)]
    advice = "; ".join(changes) or "take a smaller model"
    needed, found = _memory(least.vram, least.ram, machine), _memory(machine.vram, machine.ram, machine)
    return f"{phase}: expected at least {needed} ({least.how}), found {found}; the cheapest changes: {advice}"


def _memory(vram: int, ram: int, machine: Machine) -> str:
    host = f"{ram / GIB:.2f} GiB of RAM"
    return host if machine.on_cpu else f"{vram / GIB:.2f} GiB of VRAM and {host}"


def _changes(phase: Phase, model: ModelSizes, job: Job, machine: Machine) -> Iterator[str]:
    """What makes the phase fit, by how much it costs; the cheapest of each kind."""
    kinds: set[str] = set()
    for _, kind, text, other_model, other_job in sorted(_smaller(model, job), key=lambda change: change[0]):
        if kind not in kinds and next(fitting(phase, other_model, other_job, machine), None) is not None:
            kinds.add(kind)
            yield text


def _smaller(model: ModelSizes, job: Job) -> Iterator[tuple[float, str, str, ModelSizes, Job]]:
    """Share of the picture that it costs, kind, words, and what would be planned for."""
    frames, height, width = job.grid
    for cost, name in WEIGHTS.items():
        if model.weight_format in FORMATS and FORMATS[name] < FORMATS[model.weight_format]:
            text = f"weights in {name} in place of {model.weight_format}"
            yield cost, "weights", text, in_format(model, name), job
    for share in SHARES:
        count, rows, columns = (
            max(1, int(frames * share)),
            *(max(2, int(side * share**0.5)) for side in (height, width)),
        )
        size, length = f"{32 * columns}x{32 * rows} pixels", f"{8 * count - 7} frames"
        for kind, text, grid in (
            ("frames", length, (count, height, width)),
            ("size", size, (frames, rows, columns)),
            ("both", f"{length} of {size}", (count, rows, columns)),
        ):
            cost = 1 - grid[0] * grid[1] * grid[2] / (frames * height * width)
            if cost > 0:
                yield cost, kind, text, model, replace(job, grid=grid)
