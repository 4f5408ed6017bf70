"""What a shot list says, as frozen objects; `reading` makes them of a text.

Lengths are pixel frames where they say so; nothing here is snapped to a latent's grid yet (timeline.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .times import Time

Transition = Literal["cut", "continue", "overlap"]
TRANSITIONS: tuple[Transition, ...] = ("cut", "continue", "overlap")
USES = ("given", "under")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture pinned to a moment of its shot; at: "first", "last" or a time from the shot's start."""

    path: Path
    at: Time | Literal["first", "last"]
    strength: float
    line: int


@dataclass(frozen=True, kw_only=True)
class Control:
    """A control clip for an IC-LoRA, from `start` seconds of the file on."""

    path: Path
    start: float
    strength: float
    attention: float


@dataclass(frozen=True, kw_only=True)
class LoraChoice:
    """A LoRA file with its strength."""

    path: Path
    strength: float


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One shot, everything resolved: cast names are written out, `like` is filled in, the style is added.

    at: when it begins, where the text says so; length: None where the next shot's `at` tells. overlap: seconds around
    its start that are made anew with both sides given (transition "overlap"). audio: its sound, given; voices,
    references: of the cast that its text names. line: of its header.
    """

    name: str
    line: int
    text: str
    at: Time | None
    length: Time | None
    seed: int
    transition: Transition
    overlap: float
    pictures: tuple[Picture, ...]
    control: Control | None
    audio: Path | None
    voices: tuple[Path, ...]
    references: tuple[Path, ...]
    loras: tuple[LoraChoice, ...]


@dataclass(frozen=True, kw_only=True)
class Soundtrack:
    """Sound of the whole film: "given" to the model, which makes pictures for it, or laid "under" what it makes.

    gain: dB, of a soundtrack that lies under.
    """

    path: Path
    use: str
    gain: float


@dataclass(frozen=True, kw_only=True)
class Film:
    """A shot list. window: seconds that are sampled at once; overlap: seconds that windows of one shot share, and that
    a continued shot is given of the one before; hold: how exactly its picture goes on, 0 to 1; drift: how far windows
    are drawn to the colours of the shot's first one, 0 to 1. Sizes in pixels.
    """

    title: str
    width: int
    height: int
    fps: float
    window: float
    overlap: float
    hold: float
    drift: float
    shots: tuple[Shot, ...]
    soundtrack: Soundtrack | None

    def files(self) -> list[Path]:
        """All files that it names, in order, each once."""
        found = [] if self.soundtrack is None else [self.soundtrack.path]
        for shot in self.shots:
            found += [picture.path for picture in shot.pictures]
            found += [path for path in (shot.audio, *shot.voices, *shot.references) if path is not None]
            found += [lora.path for lora in shot.loras]
            found += [] if shot.control is None else [shot.control.path]
        return list(dict.fromkeys(found))
