"""`openltx bench shots`: a film of eight shots with the embedded model, one shot edited: calls, bits, sound, memory.

The film is rendered, rendered again with shot 4 edited, and the edited one once more with an empty cache. Judged is
what was saved: sound at seams against the film's own jumps, what is seen and heard after every seam, colours of the
last shot against those of the first, which has the same text.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.modules.module import register_module_forward_hook

import openltx
from openltx.benchmarks.embedded import heard
from openltx.media.av_reader import read_frames, read_sound
from openltx.networks.transformer import Transformer
from openltx.shots.assembly import NEAR
from openltx.shots.reading import read_film
from openltx.shots.timeline import Take, Timeline, lay_out
from openltx.training.judge import judge, onset_errors

FPS, WINDOW = 24, 49  # frames of a judged piece
BESIDE, SYNC = 0.05, 0.05  # seconds around a seam; seconds between what is seen and what is heard
RED, BLUE, GREEN = (
    f"a large {colour} ball bounces on a grey floor, a low knock at each bounce" for colour in ("red", "blue", "green")
)
YELLOW = "a large yellow box bounces on a grey floor, a high knock at each bounce"
SHOTS = (
    (RED, "cut"),
    (RED, "continue"),
    (BLUE, "overlap"),
    (GREEN, "overlap"),
    (YELLOW, "overlap"),
    (BLUE, "cut"),
    (BLUE, "continue"),
    (RED, "overlap"),
)
EDITED, EDIT = 3, YELLOW


def film_text(shots: int = len(SHOTS), seconds: float = 7.5, *, edited: bool = False) -> str:
    """The shot list; shots beyond the eighth begin again."""
    lines = ['title = "bench"', "[film]", "width = 128", "height = 128", f"fps = {FPS}"]
    lines += ["window = 2.0", "overlap = 0.7"]
    for number in range(shots):
        text, transition = SHOTS[number % len(SHOTS)]
        text = EDIT if edited and number == EDITED else text
        lines += ["[[shot]]", f"length = {seconds}", f'prompt = "{text}"', f'transition = "{transition}"']
        lines += ["overlap = 0.6"] if transition == "overlap" else []
    return "\n".join(lines)


def main() -> int:
    arguments = _arguments()
    if arguments.peak:
        print(peak_of(arguments.shots, arguments.seconds))
        return 0
    with tempfile.TemporaryDirectory() as place:
        figures = figures_of(Path(place), arguments)
    if arguments.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:<58} {value:.4g}" if isinstance(value, float) else f"{name:<58} {value}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=7.5, help="of a shot")
    parser.add_argument("--keep", type=Path, help="a folder to leave the two films in")
    parser.add_argument("--shots", type=int, default=len(SHOTS), help=argparse.SUPPRESS)
    parser.add_argument("--peak", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def figures_of(place: Path, arguments: argparse.Namespace) -> dict[str, float | int | bool]:
    """All figures by their names."""
    keep = arguments.keep or place
    before, after, fresh = (keep / f"{name}.mkv" for name in ("first", "edited", "fresh"))
    seconds, steps = arguments.seconds, arguments.steps
    first = render(film_text(seconds=seconds), before, place / "cache", steps)
    second = render(film_text(seconds=seconds, edited=True), after, place / "cache", steps)
    third = render(film_text(seconds=seconds, edited=True), fresh, place / "empty", steps)
    timeline = lay_out(read_film(film_text(seconds=seconds), find=Path, find_lora=Path))
    peaks = [peak(shots) for shots in (2, 8)]
    return {
        "denoiser calls of the first run": first,
        "of the run with one shot edited": second,
        "their share (at most 0.375)": second / first,
        "of the edited film with an empty cache": third,
        "untouched shots are bit-equal": untouched(before, after, timeline),
        "the edited film is that of an empty cache": bool((read_frames(after) == read_frames(fresh)).all()),
        **sound_figures(before, timeline),
        **sync_figures(before, timeline),
        "colour drift, first to last shot (at most 0.05)": colour_drift(before, timeline),
        "peak memory of 2 shots, MB": peaks[0],
        "peak memory of 8 shots, MB": peaks[1],
    }


@contextmanager
def counted() -> Iterator[list[int]]:
    """Counts the passes of the transformer meanwhile."""
    calls = [0]

    def count(module: torch.nn.Module, *_: object) -> None:
        calls[0] += isinstance(module, Transformer)

    hook = register_module_forward_hook(count)
    try:
        yield calls
    finally:
        hook.remove()


def render(text: str, output: Path, cache: Path, steps: int) -> int:
    """Renders a film; the calls that it took."""
    os.environ["OPENLTX_CACHE"] = str(cache)
    with counted() as calls:
        openltx.run("shots", shots=text, output=output, steps=steps, settings={"Save.codec": "ffv1"})
    return calls[0]


def untouched(before: Path, after: Path, timeline: Timeline) -> bool:
    """Whether all frames are equal but those of the edited shot and of its seams, with what is decoded around them."""
    old, new = read_frames(before), read_frames(after)
    changed = ((old != new).flatten(1)).any(dim=1)
    edited, last = timeline.takes[EDITED], timeline.takes[EDITED + 1]
    assert edited.seam is not None
    assert last.seam is not None
    reach = 8 * NEAR
    start = edited.start - 8 * edited.seam.before - reach
    end = last.start + 8 * last.seam.after + reach
    return bool(changed[edited.start : last.start].any()) and not bool(changed[:start].any() or changed[end:].any())


def sound_figures(path: Path, timeline: Timeline) -> dict[str, float]:
    """The largest jump between two samples around the seams, and what 99.9 % of the film's jumps stay below."""
    sound = read_sound(path)
    assert sound is not None
    jumps = (sound.waveform[:, 1:] - sound.waveform[:, :-1]).abs().amax(dim=0)
    limit = float(jumps.sort().values[int(0.999 * len(jumps))])
    found = []
    for take in timeline.takes[1:]:
        middle, reach = round(take.start / FPS * sound.sample_rate), round(BESIDE * sound.sample_rate)
        found.append(float(jumps[middle - reach : middle + reach].max()))
    return {"largest jump of the sound at a seam": max(found), "99.9th percentile of the film's jumps": limit}


def sync_figures(path: Path, timeline: Timeline) -> dict[str, float | int]:
    """Of the events seen in two seconds after every seam, the share heard within 50 ms; the same in mid-shot."""
    whole = heard(path)

    def errors(takes: list[Take], offset: int) -> list[float]:
        found = []
        for take in takes:
            first = take.start + offset
            start = round(first / FPS * 100)
            mel = whole.mel[:, start : start + round(WINDOW / FPS * 100)]
            verdict = judge(whole.frames[first : first + WINDOW], mel, FPS)
            found += onset_errors(verdict.video_events, verdict.audio_events, WINDOW / FPS)
        return found

    takes = list(timeline.takes)
    after, within = errors(takes[1:], 0), errors(takes, takes[0].pixels // 2)
    return {
        "events seen in 2 s after seams": len(after),
        "heard within 50 ms": _share(after),
        "events seen in 2 s of mid-shot": len(within),
        "heard within 50 ms there": _share(within),
    }


def _share(errors: list[float]) -> float:
    return sum(error <= SYNC for error in errors) / max(len(errors), 1)


def colour_drift(path: Path, timeline: Timeline) -> float:
    """The largest relative change of mean and deviation of a colour channel, last shot against first."""

    def statistics(take: Take) -> Tensor:
        frames = read_frames(path, first=take.start, count=take.pixels).float()
        return torch.cat([frames.mean(dim=(0, 1, 2)), frames.std(dim=(0, 1, 2))])

    first, last = statistics(timeline.takes[0]), statistics(timeline.takes[-1])
    return float(((last - first) / first).abs().max())


def peak(shots: int) -> float:
    """Peak resident memory (MB) of rendering so many shots, in a process of its own."""
    command = [sys.executable, __file__, "--peak", "--shots", str(shots), "--seconds", "3"]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def peak_of(shots: int, seconds: float) -> float:
    with tempfile.TemporaryDirectory() as place:
        render(film_text(shots, seconds), Path(place) / "film.mkv", Path(place) / "cache", 1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    raise SystemExit(main())
