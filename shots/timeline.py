"""Where shots lie: pixel frames of the film, latent frames of each rendering, seams between them.

A shot is rendered as a *take*, a latent of its own. Takes that are joined make a *scene*, one latent that is decoded in
one go; between scenes is a cut. A take that continues the one before begins with `lead` latent frames of it; where two
overlap, a *seam* makes the frames around their border anew, with both sides given.
"""

# of a latent, frame 0 shows 1 pixel frame and every further one 8
from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NoReturn

from ..samplers.long_video.segments import latent_frames_of
from ..samplers.shapes import SCALE
from .film import Film, Shot
from .times import Time

STEP = SCALE.time  # pixel frames of a latent frame


@dataclass(frozen=True, kw_only=True)
class Seam:
    """Around the border of two takes: `before` latent frames of the end of the first and `after` of the start of the
    second are made anew, `given` on either side are kept."""

    before: int
    after: int
    given: int

    @property
    def frames(self) -> int:
        """Latent frames of the whole window."""
        return self.given + self.before + self.after + self.given


@dataclass(frozen=True, kw_only=True)
class Take:
    """How a shot is rendered: latent frames of its own, `lead` ones before them that it shares with the take before.

    start: its first pixel frame in the film; scene: number of its scene; first: its first latent frame there.
    seam: at its start.
    """

    shot: Shot
    frames: int
    lead: int
    start: int
    scene: int
    first: int
    seam: Seam | None = None

    @property
    def whole(self) -> int:
        """Latent frames that are sampled."""
        return self.lead + self.frames

    @property
    def pixels(self) -> int:
        """Pixel frames that it adds to the film."""
        return STEP * self.frames - (STEP - 1 if self.first == 0 else 0)

    @property
    def origin(self) -> int:
        """The pixel frame of the film that is its time 0: a joined take reads its first latent frame as one picture."""
        before = self.first - self.lead
        return self.start - self.first_offset + (STEP * before if before else 0)

    @property
    def first_offset(self) -> int:
        """Pixel frames of its scene before it."""
        return STEP * (self.first - 1) + 1 if self.first else 0


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """The whole film. frames: pixel frames; overlap: latent frames of a lead; window: that are sampled at once."""

    takes: tuple[Take, ...]
    frames: int
    overlap: int
    window: int


def latent_frames(seconds: float, fps: float) -> int:
    """The number of latent frames nearest to a duration, at least 2: one alone would be a picture."""
    return max(latent_frames_of(seconds, fps), 2)


def lay_out(film: Film) -> Timeline:
    """ValueError, one line with its number, for shots that are too short, overlap each other or leave a gap.

    Shots with `at` end as near as the grid allows to where the next one begins; other ones are as long as the grid
    allows whatever is before them, so that a change of one leaves the others as they are.
    """
    overlap, window = latent_frames(film.overlap, film.fps), latent_frames(film.window, film.fps)
    if window <= overlap:
        raise ValueError(
            f"line 1: film: window: expected more than the overlap of {film.overlap:g} s, found {film.window:g} s; "
            "make it longer"
        )
    takes: list[Take] = []
    wanted = _starts(film)
    start = 0
    for place, shot in enumerate(film.shots):
        end = wanted[place + 1]
        length = end - start if end is not None else _length(shot).frames(film.fps)
        take = _take(film, shot, length, start, takes[-1] if takes else None, overlap)
        takes.append(take)
        start += take.pixels
    seams = [None, *(_seam(film, one, two, overlap, window) for one, two in pairwise(takes))]
    takes = [replace(take, seam=seam) for take, seam in zip(takes, seams, strict=True)]
    for take, following in zip(takes, [*takes[1:], None], strict=True):
        _refuse_late_pictures(take, film.fps)
        _refuse_short_between(take, following, film)
    return Timeline(takes=tuple(takes), frames=start, overlap=overlap, window=window)


def _length(shot: Shot) -> Time:
    assert shot.length is not None
    return shot.length


def _starts(film: Film) -> list[float | None]:
    """Where shots are to begin, in pixel frames, and None where the text leaves it to the shots before; at the end,
    None. ValueError for a length that says otherwise than the times."""
    fps, found = film.fps, [None if shot.at is None else shot.at.frames(film.fps) for shot in film.shots]
    if found[0] not in (None, 0.0):
        _refuse(
            film.shots[0], f"at: expected 0 for the first shot, found {_seconds(found[0], fps)}; nothing is before it"
        )
    known = 0.0
    for place, (shot, begin) in enumerate(zip(film.shots, found, strict=True)):
        begin = known if begin is None else begin
        following = found[place + 1] if place + 1 < len(found) else None
        if shot.length is None and following is None:
            _refuse(shot, "length: expected the shot's length, found none; add it, or `at` to the next shot")
        end = begin + shot.length.frames(fps) if shot.length is not None else following
        assert end is not None
        if following is not None and following < begin:
            _refuse(film.shots[place + 1], _overlapping(shot, begin, end, following, fps))
        if following is not None and shot.length is not None and abs(end - following) >= 1:
            text = _overlapping if end > following else _gap
            _refuse(film.shots[place + 1], text(shot, begin, end, following, fps))
        known = following if following is not None else end
    return [*found, None]


def _overlapping(shot: Shot, begin: float, end: float, following: float, fps: float) -> str:
    return (
        f"at: expected {_seconds(end, fps)} or later, found {_seconds(following, fps)}, while shot {shot.name!r} "
        f"(line {shot.line}) lasts from {_seconds(begin, fps)} to {_seconds(end, fps)}; times overlap: move one"
    )


def _gap(shot: Shot, begin: float, end: float, following: float, fps: float) -> str:
    return (
        f"at: expected {_seconds(end, fps)}, where shot {shot.name!r} (line {shot.line}) ends, found "
        f"{_seconds(following, fps)}; nothing is between: make the shot longer, or move this one"
    )


def _take(film: Film, shot: Shot, length: float, start: int, before: Take | None, overlap: int) -> Take:
    joined = before is not None and shot.transition != "cut"
    frames = round(length / STEP) if joined else round((length - 1) / STEP) + 1
    if length < STEP - 0.5 or frames < 1:
        _refuse(
            shot,
            f"length: expected at least one latent frame, {STEP} frames ({STEP / film.fps:.3g} s), found "
            f"{_seconds(length, film.fps)}; make it longer",
        )
    frames = max(frames, 1 if joined else 2)
    scene = 0 if before is None else before.scene + (not joined)
    first = before.first + before.frames if before is not None and joined else 0
    lead = overlap if joined and shot.transition == "continue" else 0
    if lead and before is not None and before.whole < lead:
        _refuse(
            before.shot,
            f"length: expected at least {lead} latent frames for shot {shot.name!r} (line {shot.line}) to continue, "
            f"found {before.whole}; make it longer, or the film's overlap shorter",
        )
    return Take(shot=shot, frames=frames, lead=lead, start=start, scene=scene, first=first)


def _seam(film: Film, one: Take, two: Take, overlap: int, window: int) -> Seam | None:
    if two.shot.transition != "overlap":
        return None
    made = latent_frames(two.shot.overlap, film.fps)
    given = min(overlap, (window - made) // 2)
    if given < 1:
        _refuse(
            two.shot,
            f"overlap: expected at most {(window - 2) * STEP / film.fps:.3g} s for a window of {film.window:g} s, "
            f"found {two.shot.overlap:g} s; make it shorter, or the window longer",
        )
    seam = Seam(before=made // 2, after=made - made // 2, given=given)
    for take, own in ((one, seam.before), (two, seam.after)):
        if take.frames < own + given:
            _refuse_seam(take.shot, (own + given) * STEP / film.fps, take.frames * STEP / film.fps, two.shot)
    return seam


def _refuse_short_between(take: Take, following: Take | None, film: Film) -> None:
    """What is made anew at both ends of a take must leave something of it."""
    after = take.seam.after if take.seam else 0
    before = 0
    if following is not None:
        before = following.seam.before if following.seam else max(following.lead - 1, 0)
    if following is not None and take.frames < after + before:
        wanted = (after + before) * STEP / film.fps
        _refuse_seam(take.shot, wanted, take.frames * STEP / film.fps, following.shot)


def _refuse_late_pictures(take: Take, fps: float) -> None:
    for picture in take.shot.pictures:
        if isinstance(picture.at, Time) and picture.at.frames(fps) > take.pixels:
            raise ValueError(
                f"line {picture.line}: shot {take.shot.name!r}: images: expected a time within the shot's "
                f"{_seconds(take.pixels, fps)}, found {_seconds(picture.at.frames(fps), fps)}; move it"
            )


def _refuse_seam(shot: Shot, wanted: float, found: float, of: Shot) -> None:
    _refuse(
        shot,
        f"length: expected at least {wanted:.3g} s for shot {of.name!r} (line {of.line}) to join it, found "
        f"{found:.3g} s; make it longer, or the overlap shorter",
    )


def _seconds(frames: float | None, fps: float) -> str:
    return f"{(frames or 0.0) / fps:.4g} s"


def _refuse(shot: Shot, text: str) -> NoReturn:
    raise ValueError(f"line {shot.line}: shot {shot.name!r}: {text}")
