"""Frames with times -> a constant frame rate. Asked for explicitly: nothing converts frame rates on its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TypeVar

Picture = TypeVar("Picture")
CLOCK = Fraction(1, 1000)  # Matroska rounds times to it: a frame that is this late is not late


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
