"""A whole stream that is given: audio drives video, or video drives audio (spec conditioning.md 8.1)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..state import AudioLayout, StreamState
from .append import as_batch, audio_content, video_content, video_layout


@dataclass(frozen=True, kw_only=True, eq=False)
class GivenStream:
    """The stream is `latent` and stays it: (1 or B, C, F, H, W) for video, (1 or B, 8, T, bins) for audio.

    It must have the clip's size and duration (`fit_audio_latent` cuts sound to it). The other stream sees it clean,
    at sigma 0, in every step.
    """

    latent: Tensor

    def apply(self, state: StreamState) -> StreamState:
        if isinstance(state.layout, AudioLayout):
            content = audio_content("given audio", self.latent, state, tokens=state.layout.tokens)
        else:
            frames = video_layout("given video", state).grid.frames
            content = video_content("given video", self.latent, state, frames=frames)
        content = as_batch(content, state)
        n = content.shape[1]
        mask = torch.cat([torch.zeros_like(state.mask[:, :n]), state.mask[:, n:]], dim=1)
        return replace(
            state,
            latent=torch.cat([content, state.latent[:, n:]], dim=1),
            clean=torch.cat([content, state.clean[:, n:]], dim=1),
            mask=mask,
            frozen=True,
        )
