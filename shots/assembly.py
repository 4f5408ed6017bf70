"""Takes and seams → one track of latent frames a scene, and where the sound of each of them lies in the film."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from ..samplers.shapes import AUDIO_RATE
from .timeline import STEP, Take, Timeline

SOUND_RATE = round(AUDIO_RATE.latents_per_second)  # audio latent frames a second
NEAR = 4  # latent frames beyond which a decoder sees next to nothing of a change: at most one step of 255


@dataclass(frozen=True)
class Piece:
    """A rendering: the take of this number, or the seam at its start."""

    take: int
    seam: bool = False


@dataclass(frozen=True, kw_only=True)
class Span:
    """Latent frames [first, end) of a piece, as they follow each other in its scene."""

    piece: Piece
    first: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Latent frames [first, end) of a scene that are decoded from one take alone, or around the border at its start."""

    take: int
    border: bool
    first: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Heard:
    """A piece's sound: zero is when its first audio frame begins, from when it is heard, both seconds of the film.

    cut: whether a scene begins with it.
    """

    piece: Piece
    zero: Fraction
    since: Fraction
    cut: bool


def spans(timeline: Timeline, scene: int) -> list[Span]:
    """What the latent of a scene is made of, in order."""
    found: list[Span] = []
    for number, take in enumerate(timeline.takes):
        if take.scene != scene:
            continue
        if take.seam is not None:
            given, made = take.seam.given, take.seam.before + take.seam.after
            seam = Span(piece=Piece(number, True), first=given, end=given + made)
            found = [*_shortened(found, take.seam.before), seam]
        first = take.seam.after if take.seam else 0
        if take.lead:  # its first frame was read as a single picture: the take before has the better one
            found, first = _shortened(found, take.lead - 1), 1
        found.append(Span(piece=Piece(number), first=first, end=take.whole))
    return found


def part(whole: list[Span], first: int, end: int) -> list[Span]:
    """The spans of latent frames [first, end) of a scene."""
    found, start = [], 0
    for span in whole:
        low, high = max(first - start, 0), min(end - start, span.end - span.first)
        if low < high:
            found.append(Span(piece=span.piece, first=span.first + low, end=span.first + high))
        start += span.end - span.first
    return found


def stretches(timeline: Timeline, scene: int) -> list[Stretch]:
    """A scene's frames, from its first to its last latent frame: takes, and around their borders both together.

    A border reaches NEAR latent frames beyond what it changes, as far as there is room in the takes.
    """
    found: list[Stretch] = []
    start = 0
    own = [(number, take) for number, take in enumerate(timeline.takes) if take.scene == scene]
    for place, (number, take) in enumerate(own):
        following = own[place + 1][1] if place + 1 < len(own) else None
        end = take.first + take.frames
        low, high = (_reach(following), _into(following)) if following is not None else (0, 0)
        room = take.frames - _into(take) - low
        right = end - low - (min(NEAR, room // 2) if following is not None else 0)
        found.append(Stretch(take=number, border=False, first=start, end=right))
        if following is not None:
            rest = following.frames - high - _next_reach(own, place + 1)
            start = end + high + min(NEAR, rest // 2)
            found.append(Stretch(take=number + 1, border=True, first=right, end=start))
    return [stretch for stretch in found if stretch.first < stretch.end]


def _next_reach(own: list[tuple[int, Take]], place: int) -> int:
    return _reach(own[place + 1][1]) if place + 1 < len(own) else 0


def _reach(take: Take) -> int:
    """Latent frames before its own that a take or its seam changes."""
    return take.seam.before if take.seam is not None else max(take.lead - 1, 0)


def _into(take: Take) -> int:
    """Latent frames of its own that its seam changes."""
    return take.seam.after if take.seam is not None else 0


def sounds(timeline: Timeline, rate: Fraction) -> list[Heard]:
    """All pieces in the order in which they are heard; rate: pixel frames a second.

    A joined piece takes over audio frames of the one before, so that its first one lies at a whole number of them
    behind that one's: at most half a frame (20 ms) beside its picture, and never further by adding up.
    """
    found: list[Heard] = []
    for number, take in enumerate(timeline.takes):
        origin = Fraction(take.origin) / rate
        if not take.first:
            start = Fraction(take.start) / rate
            found.append(Heard(piece=Piece(number), zero=origin, since=start, cut=True))
            continue
        before = found[-1].zero
        if take.seam is not None:
            seam = take.seam
            window = origin - Fraction(STEP * (seam.given + seam.before)) / rate
            before = snapped(window, before)
            half = Fraction(STEP * seam.given) / rate / 2
            found.append(Heard(piece=Piece(number, True), zero=before, since=window + half, cut=False))
            since = window + Fraction(STEP * (seam.frames - 1) + 1) / rate - half
        else:
            since = origin + Fraction(STEP * take.lead) / rate / 2
        found.append(Heard(piece=Piece(number), zero=snapped(origin, before), since=since, cut=False))
    return found


def snapped(time: Fraction, zero: Fraction) -> Fraction:
    """The moment nearest to `time` that is a whole number of audio frames behind `zero`."""
    return zero + Fraction(round((time - zero) * SOUND_RATE), SOUND_RATE)


def _shortened(found: list[Span], frames: int) -> list[Span]:
    """Without the last `frames` latent frames."""
    found = list(found)
    while frames and found:
        last = found.pop()
        kept = last.end - last.first - frames
        if kept > 0:
            return [*found, replace(last, end=last.first + kept)]
        frames = -kept
    return found
