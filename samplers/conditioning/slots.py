"""Generated keyframe slots: extra single pictures beside the video, LTX-2.5 (spec conditioning.md section 7)."""

# K slots, H W latent rows, columns
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..shapes import VideoGrid
from ..state import SlotLayout, StreamState
from ..tokens import in_seconds
from .append import append_tokens, video_content, video_layout
from .frames import resolve_frame
from .keyframe import clip_bounds

NAME = "keyframe slots"


@dataclass(frozen=True, kw_only=True, eq=False)
class KeyframeSlots:
    """All slots of a stage: `positions` are their pixel frames, strictly rising.

    seeds (1 or B, C, K, H, W): where a refinement stage starts from; None for zeros. The stage's result gives the
    slots as latents (B, C, K, H, W), each to be decoded alone.
    """

    positions: tuple[int, ...]
    seeds: Tensor | None = None

    def apply(self, state: StreamState) -> StreamState:
        layout = video_layout(NAME, state)
        if state.slots is not None:
            raise ValueError(f"{NAME}: expected one item a stage, found two; name all frames in one item")
        if list(self.positions) != slot_frames(self.positions, layout.frames):
            raise ValueError(f"{NAME}: expected strictly rising frames, found {list(self.positions)}")
        one = VideoGrid(1, layout.grid.height, layout.grid.width)
        bounds = [clip_bounds(one, frame, layout, first_frame=False, still=True) for frame in self.positions]
        start = None if self.seeds is None else self._seed_tokens(self.seeds, state)
        empty = state.clean.new_zeros(1, len(self.positions) * one.tokens, state.clean.shape[2])
        positions = in_seconds(torch.cat(bounds, dim=2), layout.fps)
        slots = SlotLayout(first_token=state.latent.shape[1], tokens_per_slot=one.tokens, frames=self.positions)
        return replace(append_tokens(state, empty, positions, mask=1.0, start=start, mark=1.0), slots=slots)

    def _seed_tokens(self, seeds: Tensor, state: StreamState) -> Tensor:
        return video_content(f"{NAME}: seeds", seeds, state, frames=len(self.positions))


def slot_frames(frames: Iterable[int], clip_frames: int) -> list[int]:
    """Frames that a user lists, sorted and without duplicates; -1 is the last. ValueError beyond the clip, or none."""
    found = sorted({resolve_frame(frame, clip_frames) for frame in frames})
    if not found:
        raise ValueError(f"{NAME}: expected at least one frame, found none")
    return found
