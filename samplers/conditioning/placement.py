"""From "this picture at that frame" to an item (spec conditioning.md section 3, last paragraph)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from ..state import VideoLayout
from .frames import latent_frame_of, resolve_frame
from .keyframe import Keyframe
from .replacement import LatentReplacement

Placement = Literal["recipe", "append", "replace"]


def place_image(
    latent: Tensor, frame: int, layout: VideoLayout, *, strength: float = 1.0, placement: Placement = "recipe"
) -> LatentReplacement | Keyframe:
    """The item for one encoded picture (1 or B, C, 1, H, W) at pixel frame `frame`, -1 being the last.

    placement: `append` adds tokens and binds to exactly that frame; `replace` overwrites the latent frame that holds
    it, and so binds to all its pictures; `recipe` replaces at frame 0 and appends elsewhere, as the official recipes
    do. Ask the item's `frames(layout)` for what it binds to. Raises ValueError for a frame beyond the clip.
    """
    if placement not in ("recipe", "append", "replace"):
        raise ValueError(f"placement: expected recipe, append or replace, found {placement!r}")
    if latent.ndim != 5 or latent.shape[2] != 1:
        raise ValueError(f"image: expected the latent of one picture (B, C, 1, H, W), found {tuple(latent.shape)}")
    frame = resolve_frame(frame, layout.frames)
    if placement == "replace" or (placement == "recipe" and frame == 0):
        latent_frame = latent_frame_of(frame, scale=layout.scale)
        return LatentReplacement(latent=latent, latent_frame=latent_frame, strength=strength)
    return Keyframe(latent=latent, frame=frame, strength=strength)
