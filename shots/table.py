"""The plan of a film as a plain table: what is rendered, what is there already, how long it should take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .film import Film
from .timeline import Take, lay_out
from .times import clock

CACHED, RENDERED, SEAM = "from cache", "render", "render the seam"
PLAN_TEXT = "shots"  # the contact sheet carries the table under this name


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a shot asks for: calls of the denoiser for itself and for its seam, 0 where they are there already.

    seconds: how long that should take; None where nothing of the kind was rendered here before.
    """

    calls: int
    seam_calls: int
    seconds: float | None


def planned(film: Film, work: Sequence[Work] | None = None) -> str:
    """Lines of equal width; work: of each shot, where it is known."""
    takes = lay_out(film).takes
    rows = [["shot", "from", "to", "frames", "transition", *(["", "denoiser calls", "seconds"] if work else [])]]
    for number, take in enumerate(takes):
        row = [take.shot.name, _time(take.start, film), _time(take.start + take.pixels, film), str(take.pixels)]
        rows.append([*row, _transition(take), *(_work(work[number]) if work else [])])
    lines = [film.title] if film.title else []
    return "\n".join([*lines, *_aligned(rows), *([_total(work)] if work else [])])


def duration(seconds: float) -> str:
    """3 s, 4 min 10 s, 1 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def _transition(take: Take) -> str:
    if not take.first:
        return "cut" if take.start else ""
    return "continue" if take.seam is None else f"overlap {take.shot.overlap:g} s"


def _time(frame: int, film: Film) -> str:
    return clock(frame / film.fps)


def state_of(work: Work) -> str:
    """What is done about a shot."""
    if work.calls:
        return RENDERED
    return SEAM if work.seam_calls else CACHED


def _work(work: Work) -> list[str]:
    calls = work.calls + work.seam_calls
    return [state_of(work), str(calls), "?" if work.seconds is None else f"{work.seconds:.0f}"]


def _total(work: Iterable[Work]) -> str:
    found = list(work)
    calls = sum(entry.calls + entry.seam_calls for entry in found)
    known = [entry.seconds for entry in found if entry.seconds is not None]
    if not calls:
        return "nothing to render: all shots are in the cache"
    time = f"about {duration(sum(known))}" if len(known) == len(found) else "how long is known after the first shot"
    return f"{calls} calls of the denoiser, {time}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
