"""Long clips with picture and sound together: each segment is given the end of the one before, in both streams.

Video goes on as in the video-only loop (spec pipelines.md section 16): the last latent frames as a guide, then a
cross-fade. Sound goes on as in a retake: its first tokens are given, so that it continues to the sample.
"""

# F latent frames of the clip, T its audio latent frames
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from ..conditioning import ConditioningItem, GivenStream, LatentGuide
from ..state import VideoLayout
from ..streams import Streams
from .handover import AudioBefore, AudioStart, audio_items, video_items
from .joining import cross_fade
from .segments import Segment
from .statistics import transfer_statistics

SegmentItems = Sequence[ConditioningItem]
SegmentSampler = Callable[[Segment, Streams[Tensor], Streams[SegmentItems]], Streams[Tensor]]
"""One run: a segment, its start latents and its items -> its finished latents."""


@dataclass(frozen=True, kw_only=True)
class Handover:
    """How strongly a segment holds on to the one before it.

    video, audio  strength of what it is given of the last segment; 1: exactly
    drift         0 to 1, of each stream: how far its statistics are drawn to those of the first segment
    """

    video: float = 0.5
    audio: float = 1.0
    drift: Streams[float] = Streams(video=0.0, audio=0.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class LongClip:
    """A clip that is sampled segment by segment.

    start      latents of the whole clip that segments start from, zeros for a fresh one: (B, C, F, H, W) and
               (B, 8, T, bins), or video alone
    layout     of the whole video
    items      of the whole clip; each segment gets its part of them
    beginning  latents that exist already and are continued
    """

    start: Streams[Tensor]
    layout: VideoLayout
    items: Streams[SegmentItems] = Streams(video=(), audio=())
    beginning: Streams[Tensor] | None = None
    handover: Handover = Handover()

    def sample(self, segments: Sequence[Segment], sample: SegmentSampler) -> Streams[Tensor]:
        """The latents of the whole clip, by one call of `sample` a segment."""
        *_, whole = self.grown(segments, sample)
        return whole

    def grown(self, segments: Sequence[Segment], sample: SegmentSampler) -> Iterator[Streams[Tensor]]:
        """The latents so far, after each call of `sample`."""
        result = reference = self.beginning
        for segment in segments:
            made = sample(segment, self._slices(segment), self._items(segment, result))
            if result is None or reference is None:
                result = reference = made
            else:
                steady = self._steadied(made, reference, segment)
                video, audio = _joined_video(result, steady, segment), _joined_audio(result, steady, segment)
                result = Streams(video=video, audio=audio)
            yield result

    def _slices(self, segment: Segment) -> Streams[Tensor]:
        bounds = Streams(video=segment.video, audio=segment.audio)
        return self.start.map(lambda latent, bound: latent[:, :, bound[0] : bound[1]], bounds)

    def _items(self, segment: Segment, result: Streams[Tensor] | None) -> Streams[SegmentItems]:
        video = video_items(self.items.video or (), segment, self.layout)
        audio = audio_items(self.items.audio or (), segment)
        if result is not None:
            video = [*self._video_handover(segment, result, video), *video]
            audio = [*self._audio_handover(segment, result, audio), *audio]
        return Streams(video=tuple(video), audio=tuple(audio))

    def _video_handover(self, segment: Segment, result: Streams[Tensor], items: SegmentItems) -> list[ConditioningItem]:
        if result.video is None or _given(items):
            return []
        end = result.video[:, :, -segment.shared_video :]
        return [LatentGuide(latent=end, latent_index=0, strength=self.handover.video)]

    def _audio_handover(self, segment: Segment, result: Streams[Tensor], items: SegmentItems) -> list[ConditioningItem]:
        if result.audio is None or _given(items):
            return []
        first, given = segment.audio[0], segment.handed_audio
        found: list[ConditioningItem] = []
        if given:
            own = result.audio[:, :, first : first + given]
            found.append(AudioStart(latent=own, strength=self.handover.audio))
        if segment.earlier_audio:
            earlier = result.audio[:, :, first - segment.earlier_audio : first]
            found.append(AudioBefore(latent=earlier, strength=self.handover.audio))
        return found

    def _steadied(self, made: Streams[Tensor], reference: Streams[Tensor], segment: Segment) -> Streams[Tensor]:
        """`made` with the statistics of the first segment; a given stream stays what it is."""
        given = self.items.map(lambda items: _given(items))

        def steady(latent: Tensor, goal: Tensor, factor: float | None, is_given: bool | None) -> Tensor:
            return latent if is_given or not factor else transfer_statistics(latent, goal, factor)

        return made.map(steady, reference, self.handover.drift, given)


def _joined_video(result: Streams[Tensor], made: Streams[Tensor], segment: Segment) -> Tensor | None:
    if result.video is None or made.video is None:
        return None
    # Its first latent frame was read as a single picture, though it stands for eight: it is not used.
    return cross_fade(result.video, made.video[:, :, 1:], segment.shared_video - 1)


def _joined_audio(result: Streams[Tensor], made: Streams[Tensor], segment: Segment) -> Tensor | None:
    """Up to the end of what was given it is the old sound, blended; after it, the new one."""
    if result.audio is None or made.audio is None:
        return None
    kept = result.audio[:, :, : segment.audio[0] + segment.handed_audio]
    return cross_fade(kept, made.audio, segment.handed_audio)


def _given(items: SegmentItems) -> bool:
    return any(isinstance(item, GivenStream) for item in items)
