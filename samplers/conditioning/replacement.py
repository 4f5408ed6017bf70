"""Content in place of grid tokens: the image on the first frame (spec conditioning.md section 2)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from ..state import StreamState, VideoLayout
from .append import as_batch, check_strength, video_content, video_layout
from .frames import latent_frames_to_pixels

NAME = "image"


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentReplacement:
    """Latent frames of the grid become `latent` (1 or B, C, f, H, W), from `latent_frame` on.

    strength: 1 keeps them exactly, 0 leaves them free. Only `clean` and `mask` change.
    """

    latent: Tensor
    latent_frame: int = 0
    strength: float = 1.0

    def frames(self, layout: VideoLayout) -> range:
        """The pixel frames that it binds to; ValueError if they reach beyond the clip."""
        last = self.latent_frame + self.latent.shape[2] - 1
        if self.latent_frame < 0 or last >= layout.grid.frames:
            raise ValueError(
                f"{NAME}: expected latent frames from 0 to {layout.grid.frames - 1}, found {self.latent_frame} to "
                f"{last}; move it into the clip or make the clip longer"
            )
        return latent_frames_to_pixels(self.latent_frame, self.latent.shape[2], scale=layout.scale)

    def apply(self, state: StreamState) -> StreamState:
        check_strength(NAME, self.strength)
        layout = video_layout(NAME, state)
        content = as_batch(video_content(NAME, self.latent, state), state)
        self.frames(layout)
        first = self.latent_frame * layout.grid.height * layout.grid.width
        tokens = slice(first, first + content.shape[1])
        clean, mask = state.clean.clone(), state.mask.clone()
        clean[:, tokens] = content
        mask[:, tokens] = 1 - self.strength
        return replace(state, clean=clean, mask=mask)
