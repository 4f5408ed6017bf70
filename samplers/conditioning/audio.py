"""Reference audio: a speaker's voice, as appended tokens before time 0 (spec conditioning.md section 8)."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from ..state import StreamState
from ..tokens import audio_positions
from .append import append_tokens, audio_content, audio_layout, check_strength

NAME = "reference audio"
GAP = 0.04  # seconds between the end of the reference and the start of the clip


@dataclass(frozen=True, kw_only=True, eq=False)
class ReferenceAudio:
    """A voice to speak with: `latent` (1 or B, 8, R, bins), of any length. The output becomes no longer by it."""

    latent: Tensor
    strength: float = 1.0

    def apply(self, state: StreamState) -> StreamState:
        check_strength(NAME, self.strength)
        layout = audio_layout(NAME, state)
        content = audio_content(NAME, self.latent, state)
        positions = audio_positions(content.shape[1], rate=layout.rate)
        return append_tokens(state, content, positions - (positions[0, 0, -1, 1] + GAP), mask=1 - self.strength)


def fit_audio_latent(latent: Tensor, frames: int, *, pad: bool = False) -> Tensor:
    """An audio latent (B, 8, T, bins) cut to `frames`; `pad`: a shorter one is filled with zeros (for a retake).

    Raises ValueError for a shorter one otherwise: sound that is given must last as long as the clip.
    """
    found = latent.shape[2]
    if found < frames and not pad:
        raise ValueError(
            f"audio: expected a latent of at least {frames} frames for this clip, found {found}; pad the sound with "
            "silence or shorten the clip"
        )
    return F.pad(latent[:, :, :frames], (0, 0, 0, max(frames - found, 0)))
