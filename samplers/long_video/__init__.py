"""Clips longer than one model call: segments one after the other, each given the end of the one before.

`looping` is the video-only loop that ComfyUI's users know (spec pipelines.md section 16); `extend` our own, for video
and audio together, with `segments` and `handover`. `joining` blends, `statistics` keeps clips from drifting.
"""

from __future__ import annotations

from .extend import Handover, LongClip, SegmentItems, SegmentSampler
from .joining import cross_fade
from .looping import Loop, LoopCall, SampleTile, TileFrame, sample_looping, tile_of_image, tile_seed
from .segments import NOTHING, Segment, Sound, plan_segments
from .statistics import Target, normalise_statistics, transfer_statistics

__all__ = [
    "NOTHING",
    "Handover",
    "LongClip",
    "Loop",
    "LoopCall",
    "SampleTile",
    "Segment",
    "SegmentItems",
    "SegmentSampler",
    "Sound",
    "Target",
    "TileFrame",
    "cross_fade",
    "normalise_statistics",
    "plan_segments",
    "sample_looping",
    "tile_of_image",
    "tile_seed",
    "transfer_statistics",
]
