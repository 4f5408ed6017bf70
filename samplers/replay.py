"""A run that goes on where an equal one was cut off, bit for bit, whatever its step rule remembers.

A rule is a function that draws noise and keeps things in its own frame. So it is run again from the first step, on
predictions that cost nothing: noise is drawn as ever, and the latents that come out are replaced by those of the run
before. The last finished step then meets the very latents and predictions that it had, so that what a rule keeps of a
step (the velocity of gradient estimation, say) is what it would be. A rule that keeps what it made of earlier steps
would need those too; none of ours does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from .denoiser import Denoised, GuidanceMemory, Remembering
from .steps import StepCallback, StepReport
from .streams import Streams


@dataclass(frozen=True, kw_only=True)
class StepRecord:
    """All that a run needs to go on after a finished step.

    index        of the step, from 0
    before       latents (B, T, C) that it began with
    evaluations  what each of its evaluations gave, in their order
    after        latents that it led to
    memory       of the guidance after them
    """

    index: int
    before: Streams[Tensor]
    evaluations: tuple[Denoised, ...]
    after: Streams[Tensor]
    memory: Streams[GuidanceMemory]


class Replay:
    """The denoiser and the callback of a run: `rule(replay.denoise, start, sigmas, replay.stepped)`.

    start: its start latents. record: of the last step that an equal run has finished, or None. keep: told of every
    step that was computed here. callback: what the run reports to; steps before the recorded one are not reported.
    """

    def __init__(
        self,
        denoise: Remembering,
        start: Streams[Tensor],
        *,
        record: StepRecord | None,
        keep: Callable[[StepRecord], None],
        callback: StepCallback,
    ) -> None:
        self._denoise, self._record, self._keep, self._callback = denoise, record, keep, callback
        self._before, self._step = start, 0
        self._evaluations: list[Denoised] = []

    def denoise(self, latents: Streams[Tensor], sigma: Tensor, step: int | None = None, /) -> Denoised:
        """A `Denoise`: recorded, made up, or computed."""
        record = self._record
        if record is None or self._step > record.index:
            found = self._denoise(latents, sigma, step)
        elif self._step < record.index:
            unconditioned = None if record.evaluations[0].unconditioned is None else latents
            return Denoised(x0=latents, unconditioned=unconditioned)
        else:
            found = self._recorded(record)
            self._denoise.recall(record.memory)
        self._evaluations.append(found)
        return found

    def _recorded(self, record: StepRecord) -> Denoised:
        if len(self._evaluations) == len(record.evaluations):
            raise ValueError(
                f"kept steps: expected {len(record.evaluations) + 1} or more evaluations of step {record.index + 1}, "
                f"found {len(record.evaluations)}; run again without resuming"
            )
        return record.evaluations[len(self._evaluations)]

    def stepped(self, report: StepReport) -> Streams[Tensor] | None:
        """A `StepCallback`."""
        record, self._step = self._record, report.index + 1
        if record is not None and report.index < record.index:
            self._before = record.before
            return record.before if self._step == record.index else None
        if record is None or report.index > record.index:
            self._keep(self._made(report))
            after = report.latents
        else:
            after = record.after
        changed = self._callback(replace(report, latents=after))
        self._before, self._evaluations = after if changed is None else changed, []
        return self._before

    def _made(self, report: StepReport) -> StepRecord:
        return StepRecord(
            index=report.index,
            before=self._before,
            evaluations=tuple(self._evaluations),
            after=report.latents,
            memory=self._denoise.memory(),
        )
