"""One value for each stream. Everything in samplers/ works on video and audio together, or on one of them alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)
U = TypeVar("U")


@dataclass(frozen=True)
class Streams(Generic[T_co]):
    """A value of the video stream and one of the audio stream; None where the stream is absent."""

    video: T_co | None = None
    audio: T_co | None = None

    def map(self, function: Callable[..., U | None], *others: Streams[Any]) -> Streams[U]:
        """`function(own, *others')` for each stream that is present here, video first."""
        return Streams(
            video=None if self.video is None else function(self.video, *(other.video for other in others)),
            audio=None if self.audio is None else function(self.audio, *(other.audio for other in others)),
        )

    def present(self) -> list[T_co]:
        """The values that are there, video first."""
        return [value for value in (self.video, self.audio) if value is not None]
