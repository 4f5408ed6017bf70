"""Frame rates: exact ones, and frames with times -> a constant one.

Asked for explicitly: nothing converts frame rates on its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from math import isfinite
from typing import TypeVar

Picture = TypeVar("Picture")
CLOCK = Fraction(1, 1000)  # Matroska rounds times to it: a frame that is this late is not late


def exact_rate(frame_rate: float | Fraction) -> Fraction:
    """23.976 -> 24000/1001, 24.0 -> 24: the broadcast rate within 0.001, else the nearest simple fraction.

    Raises ValueError unless it is above 0 and at most 1000.
    """
    if not (isfinite(frame_rate) and 0 < frame_rate <= 1000):
        raise ValueError(f"frame rate: expected a number above 0 and at most 1000, found {frame_rate}")
    if isinstance(frame_rate, Fraction):
        return frame_rate
    whole = round(frame_rate)
    broadcast = Fraction(whole * 1000, 1001)
    if whole and abs(float(broadcast) - frame_rate) < 1e-3 and abs(whole - frame_rate) > 1e-6:
        return broadcast
    return Fraction(frame_rate).limit_denominator(1000)


def at_constant_rate(frames: Iterable[tuple[Fraction, Picture]], rate: Fraction) -> Iterator[Picture]:
    """At each moment the picture that is shown then: pictures repeat or are left out, never mix.

    frames: (seconds, picture) in order; the last one is shown as long as the one before it. One picture is held.
    """
    begin, count, shown, last = Fraction(0), 0, 1 / rate, None
    for time, picture in frames:
        if last is None:
            begin = time
        else:
            while begin + count / rate < time - CLOCK:
                yield last[1]
                count += 1
            shown = time - last[0]
        last = time, picture
    while last is not None and begin + count / rate < last[0] + shown - CLOCK:
        yield last[1]
        count += 1
