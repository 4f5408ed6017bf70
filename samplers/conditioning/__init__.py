"""Conditioning items: every way of giving content to the model besides text (spec conditioning.md).

An item is a small frozen object; `apply_items` applies a list of them, in order, to the state of one stream, before
noise. What an item appends is dropped by `end_stage` of samplers/state.py.
"""

from __future__ import annotations

from .attention import mask_strength
from .audio import ReferenceAudio, fit_audio_latent
from .frames import frames_text, latent_frame_of, latent_frames_to_pixels, resolve_frame
from .given import GivenStream
from .items import ConditioningItem, apply_items, check_items
from .keyframe import Keyframe, LatentGuide
from .masks import InpaintMask, TemporalRegions, cell_mask
from .placement import place_image
from .reference import ReferenceFactors, ReferenceVideo, reference_factors, reference_frames, reference_size
from .replacement import LatentReplacement
from .slots import KeyframeSlots, slot_frames

__all__ = [
    "ConditioningItem",
    "GivenStream",
    "InpaintMask",
    "Keyframe",
    "KeyframeSlots",
    "LatentGuide",
    "LatentReplacement",
    "ReferenceAudio",
    "ReferenceFactors",
    "ReferenceVideo",
    "TemporalRegions",
    "apply_items",
    "cell_mask",
    "check_items",
    "fit_audio_latent",
    "frames_text",
    "latent_frame_of",
    "latent_frames_to_pixels",
    "mask_strength",
    "place_image",
    "reference_factors",
    "reference_frames",
    "reference_size",
    "resolve_frame",
    "slot_frames",
]
