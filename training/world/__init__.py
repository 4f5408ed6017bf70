"""The small world that the embedded model knows: endless captioned clips with sound, from a seed.

Caption grammar, drawing and sound stand side by side here, and all three read the same few values of a `Scene`.
"""

from __future__ import annotations

from .clip import SAMPLE_RATE, Clip, make_clip, samples_of
from .scene import Scene, is_held_out, sample_scene

__all__ = ["SAMPLE_RATE", "Clip", "Scene", "is_held_out", "make_clip", "sample_scene", "samples_of"]
