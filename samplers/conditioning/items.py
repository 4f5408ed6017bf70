"""A list of items on a state, and what two items of one list may not do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Protocol

from ..state import Layout, StreamState, VideoLayout
from .given import GivenStream
from .keyframe import Keyframe
from .masks import InpaintMask, TemporalRegions
from .replacement import LatentReplacement
from .slots import KeyframeSlots

GENERATING = (LatentReplacement, Keyframe, InpaintMask, TemporalRegions, KeyframeSlots, GivenStream)


class ConditioningItem(Protocol):
    """A frozen object that changes the un-noised state of one stream."""

    def apply(self, state: StreamState) -> StreamState:
        """The state with the item in it; ValueError, one line, where it does not fit the stream."""


def apply_items(state: StreamState, items: Sequence[ConditioningItem], *, slots_supported: bool = False) -> StreamState:
    """The items, in list order, on a state that has no noise yet.

    slots_supported: the transformer has `use_keyframes_abs_pos_embedding`, so that generated keyframe slots work.
    Raises ValueError for items that do not fit the stream or each other.
    """
    assert state.layout is not None, "items need a state from video_state or audio_state"
    check_items(items, state.layout, slots_supported=slots_supported)
    for item in items:
        state = item.apply(state)
    return state


def check_items(items: Sequence[ConditioningItem], layout: Layout, *, slots_supported: bool = False) -> None:
    """ValueError, one line, for items that contradict each other: a node can ask when it adds one to a chain."""
    if any(isinstance(item, KeyframeSlots) for item in items) and not slots_supported:
        raise ValueError("keyframe slots: this model cannot generate keyframes; use an LTX-2.5 model or remove them")
    if any(isinstance(item, TemporalRegions) for item in items[1:]):
        raise ValueError("retake: expected one retake, before all other items, as it overwrites the mask; move it up")
    if any(isinstance(item, GivenStream) for item in items):
        _refuse_beside_given(items)
    if isinstance(layout, VideoLayout):
        for (one, frames), (other, others) in combinations(_full_claims(items, layout), 2):
            common = sorted(set(frames) & set(others))
            if common:
                raise ValueError(
                    f"items {one + 1} and {other + 1} both claim frame {common[0]} at full strength; move one, or "
                    "lower its strength"
                )


def _refuse_beside_given(items: Sequence[ConditioningItem]) -> None:
    """Nothing of a given stream is generated: only references make sense beside it."""
    found = [type(item).__name__ for item in items if isinstance(item, GENERATING)]
    if len(found) > 1:
        raise ValueError(
            f"given stream: expected at most references beside it, found {' and '.join(found)}; the stream is given "
            "whole, so remove one of them"
        )


def _full_claims(items: Sequence[ConditioningItem], layout: VideoLayout) -> Iterator[tuple[int, range]]:
    """Index and pixel frames of every item that pins frames exactly."""
    for index, item in enumerate(items):
        if isinstance(item, LatentReplacement | Keyframe) and item.strength >= 1:
            yield index, item.frames(layout)
