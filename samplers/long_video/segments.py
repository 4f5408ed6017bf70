"""Where the segments of a long clip lie, in latent frames of both streams."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..shapes import AUDIO_RATE, SCALE, AudioRate, ScaleFactors, audio_latent_frames, pixel_frames
from ..streams import Streams
from ..tiling import split_axis

NOTHING: Streams[int] = Streams(video=0, audio=0)


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One sampling run of a long clip; of every pair, [first, end) in latent frames of the whole clip.

    video, audio    what it samples; it takes time 0 to be where the video window begins
    shared_video    latent frames at its start that are there already; the first of them is read as a single picture
    shared_audio    the same of the sound
    handed_audio    how many of the shared audio frames it is given; the others it makes anew
    earlier_audio   audio frames right before its window that it is given as well
    """

    index: int
    video: tuple[int, int]
    audio: tuple[int, int]
    shared_video: int = 0
    shared_audio: int = 0
    handed_audio: int = 0
    earlier_audio: int = 0

    @property
    def first_pixel(self) -> int:
        """The pixel frame of the whole clip that is its frame 0."""
        return self.video[0] * SCALE.time

    @property
    def new_pixels(self) -> range:
        """The pixel frames of the whole clip that it adds."""
        start, end = self.video
        first = (start + self.shared_video - 1) * SCALE.time + 1 if self.shared_video else 0
        return range(first, (end - 1) * SCALE.time + 1)


def plan_segments(
    whole: Streams[int],
    fps: float,
    *,
    seconds: float,
    overlap: float,
    audio_overlap: float | None = None,
    begun: Streams[int] = NOTHING,
    scale: ScaleFactors = SCALE,
    rate: AudioRate = AUDIO_RATE,
) -> list[Segment]:
    """Segments of at most about `seconds` that cover a clip, equally long but for one latent frame.

    whole: latent frames of the clip; begun: those that exist already. Without sound its numbers are made up.
    overlap: seconds that two neighbours share. audio_overlap: seconds of sound before the end of the last segment
    that the next one is given, by default all that they share; more reaches back beyond its window.
    Borders of the sound lie at the audio frame nearest to the video's. Raises ValueError for lengths that do not fit.
    """
    frames, first = whole.video or 0, begun.video or 0
    shared, longest = latent_frames_of(overlap, fps, scale=scale), latent_frames_of(seconds, fps, scale=scale)
    shared = max(shared, 2)  # one alone would be the frame that is not used
    if longest <= shared:
        raise ValueError(
            f"segments: expected them longer than their overlap of {overlap:g} s, found {seconds:g} s; make them longer"
        )
    if not 0 <= first < frames or 0 < first < shared:
        raise ValueError(
            f"segments: expected a beginning of {shared} to {frames - 1} latent frames, found {first}; make the clip "
            "longer or the overlap shorter"
        )
    origin = max(first - shared, 0)
    count = max(-((frames - origin - shared) // -(longest - shared)), 1)
    sound = Sound(fps, scale, rate)
    handed = None if audio_overlap is None else round(audio_overlap * rate.latents_per_second)
    existing = begun.audio or (sound.end(first) if first else 0)
    segments: list[Segment] = []
    for index, window in enumerate(split_axis(frames - origin, count, shared, axis="time")):
        video = (window.start + origin, window.end + origin)
        end = sound.end(video[1]) if whole.audio is None or video[1] < frames else whole.audio
        segment = Segment(index=index, video=video, audio=(0, end))
        if index or first:
            segment = _continued(segment, shared, existing, handed, sound.start(video[0]))
        segments.append(segment)
        existing = end
    return segments


def _continued(segment: Segment, shared: int, existing: int, handed: int | None, start: int) -> Segment:
    """A segment after others: `existing` audio frames are there, of which it is `handed` the last ones."""
    together = max(existing - start, 0)
    asked = together if handed is None else handed
    return replace(
        segment,
        audio=(start, segment.audio[1]),
        shared_video=shared,
        shared_audio=together,
        handed_audio=min(asked, together),
        earlier_audio=min(max(asked - together, 0), start),
    )


@dataclass(frozen=True)
class Sound:
    """Audio frames nearest to the borders of video windows, at `fps` pictures a second."""

    fps: float
    scale: ScaleFactors = SCALE
    rate: AudioRate = AUDIO_RATE

    def start(self, frame: int) -> int:
        """Of a window that begins at latent frame `frame`, which it reads as a single picture: the last of its 8."""
        return round(frame * self.scale.time / self.fps * self.rate.latents_per_second)

    def end(self, frame: int) -> int:
        """Of a window that ends before latent frame `frame`."""
        return audio_latent_frames(pixel_frames(frame, scale=self.scale), self.fps, rate=self.rate)


def latent_frames_of(seconds: float, fps: float, *, scale: ScaleFactors = SCALE) -> int:
    """The number of latent frames whose duration is nearest to `seconds`, at least 1."""
    if not seconds > 0:
        raise ValueError(f"seconds: expected a positive number, found {seconds:g}")
    return max(round((seconds * fps - 1) / scale.time), 0) + 1
