"""Times as a person writes them: 3.5, "3.5 s", "0:03.5", "1:02:03", "84 frames"."""

from __future__ import annotations

import re
from dataclasses import dataclass

FORMS = 'seconds (3.5), "0:03.5" or "84 frames"'
CLOCK = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?)")


@dataclass(frozen=True)
class Time:
    """A moment or a length, in seconds or in frames."""

    amount: float
    in_frames: bool = False

    def frames(self, fps: float) -> float:
        """In frames, with their fractions."""
        return self.amount if self.in_frames else self.amount * fps


def time_of(value: object) -> Time | None:
    """None for what is no time, negative ones included."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Time(float(value)) if 0 <= value < float("inf") else None
    if not isinstance(value, str):
        return None
    words = value.lower().split()
    if len(words) == 2 and words[1] in ("frame", "frames") and words[0].isdecimal():
        return Time(float(words[0]), in_frames=True)
    if len(words) == 2 and words[1] in ("s", "seconds"):
        words.pop()
    found = CLOCK.fullmatch(words[0]) if len(words) == 1 else None
    if found is None:
        return None
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return Time(3600 * hours + 60 * minutes + seconds)


def clock(seconds: float) -> str:
    """0:07.50"""
    minutes, rest = divmod(round(seconds * 100), 6000)
    return f"{minutes}:{rest // 100:02}.{rest % 100:02}"
