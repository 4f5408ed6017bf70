"""What a segment of a long clip is given of the one before it, as conditioning items; and items cut to a segment."""

# B batch, T audio latent frames, k of them given
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..conditioning import ConditioningItem, GivenStream, ReferenceAudio
from ..conditioning.append import append_tokens, as_batch, audio_content, audio_layout, check_strength
from ..cut_items import cut_video_items, uncuttable, whole_tile
from ..state import StreamState, VideoLayout
from ..tokens import audio_positions
from .segments import Segment

NAME = "sound before"


@dataclass(frozen=True, kw_only=True, eq=False)
class AudioStart:
    """The first frames of the sound are `latent` (1 or B, 8, k, bins); strength: 1 keeps them exactly."""

    latent: Tensor
    strength: float = 1.0

    def apply(self, state: StreamState) -> StreamState:
        check_strength(NAME, self.strength)
        content = as_batch(audio_content(NAME, self.latent, state), state)
        k, tokens = content.shape[1], audio_layout(NAME, state).tokens
        if k > tokens:
            raise ValueError(f"{NAME}: expected at most the segment's {tokens} audio frames, found {k}")
        clean = torch.cat([content, state.clean[:, k:]], dim=1)
        mask = torch.cat([torch.full_like(state.mask[:, :k], 1 - self.strength), state.mask[:, k:]], dim=1)
        return replace(state, clean=clean, mask=mask)


@dataclass(frozen=True, kw_only=True, eq=False)
class AudioBefore:
    """Sound right before the segment, (1 or B, 8, k, bins), as appended tokens that end where its own begin."""

    latent: Tensor
    strength: float = 1.0

    def apply(self, state: StreamState) -> StreamState:
        check_strength(NAME, self.strength)
        rate = audio_layout(NAME, state).rate
        content = audio_content(NAME, self.latent, state)
        k = content.shape[1]
        # The first token of a stream stands for one mel frame instead of four; times before it go on without a gap.
        shortened = (rate.factor - 1) * rate.hop / rate.sample_rate
        positions = audio_positions(k, shift=-k, rate=rate, causal=False) - shortened
        return append_tokens(state, content, positions, mask=1 - self.strength)


def video_items(items: Iterable[ConditioningItem], segment: Segment, layout: VideoLayout) -> list[ConditioningItem]:
    """Items of a whole clip as those of a segment, for its video. ValueError for one that cannot be cut."""
    tile = whole_tile(layout.grid, segment.video)
    return cut_video_items(items, tile, layout, shared=segment.shared_video)


def audio_items(items: Iterable[ConditioningItem], segment: Segment) -> list[ConditioningItem]:
    """The same for its sound."""
    return [_audio_item(item, segment) for item in items]


def _audio_item(item: ConditioningItem, segment: Segment) -> ConditioningItem:
    if isinstance(item, GivenStream):
        return GivenStream(latent=item.latent[:, :, segment.audio[0] : segment.audio[1]])
    if isinstance(item, ReferenceAudio):
        return item
    raise uncuttable(item)
