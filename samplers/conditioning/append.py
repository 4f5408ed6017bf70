"""What all items share: their checks, and the bookkeeping of appended tokens (spec conditioning.md, common rules)."""

# B batch, M appended tokens, C features of a token
from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..attention_strength import extend_strength, token_strengths
from ..shapes import VideoGrid
from ..state import AudioLayout, StreamState, VideoLayout
from ..tokens import patchify_audio, patchify_video


def append_tokens(
    state: StreamState,
    content: Tensor,
    positions: Tensor,
    *,
    mask: float,
    attention: float | Tensor = 1.0,
    start: Tensor | None = None,
    mark: float = 0.0,
) -> StreamState:
    """The state with tokens put behind all others.

    content (1 or B, M, C) enters `clean`; positions (1, axes, M, 2); mask: 1 - strength of all of them; attention:
    their strength towards the grid, a number or weights (M,) or (B, M); start (1 or B, M, C) enters `latent`, zeros
    when None; mark: their keyframe mark.
    """
    content = as_batch(content, state)
    batch, added = content.shape[:2]
    start = torch.zeros_like(content) if start is None else as_batch(start, state)
    marks = state.keyframe_marks
    strengths = token_strengths(attention, added)
    if strengths is not None:
        strengths = strengths.to(state.latent.device)
    return replace(
        state,
        latent=torch.cat([state.latent, start], dim=1),
        clean=torch.cat([state.clean, content], dim=1),
        mask=torch.cat([state.mask, state.mask.new_full((batch, added, 1), mask)], dim=1),
        positions=torch.cat(
            [state.positions, positions.to(state.positions).expand(len(state.positions), -1, -1, -1)], dim=2
        ),
        attention=extend_strength(
            state.attention, strengths, grid=state.grid_tokens, tokens=state.latent.shape[1], added=added
        ),
        keyframe_marks=None if marks is None else torch.cat([marks, marks.new_full((len(marks), added, 1), mark)], 1),
    )


def as_batch(tokens: Tensor, state: StreamState) -> Tensor:
    """`tokens` (1 or B, M, C) as (B, M, C), in the dtype and on the device of the state's latent."""
    batch, _, features = state.latent.shape
    if tokens.shape[0] not in (1, batch) or tokens.shape[2] != features:
        raise ValueError(
            f"content: expected a batch of 1 or {batch} with {features} features a token, found {tokens.shape[0]} "
            f"with {tokens.shape[2]}; encode it with the VAE of this model"
        )
    return tokens.to(state.latent).expand(batch, -1, -1)


def video_content(
    name: str, latent: Tensor, state: StreamState, *, frames: int | None = None, ratio: int = 1
) -> Tensor:
    """Tokens (1 or B, f*h*w, C) of an item's latent (1 or B, C, f, h, w), its size checked against the grid.

    frames: how many latent frames it must have (any number when None); ratio: how many times smaller than the grid
    its height and width are.
    """
    layout = video_layout(name, state)
    if latent.ndim != 5:
        raise ValueError(f"{name}: expected a video latent (B, C, F, H, W), found shape {tuple(latent.shape)}")
    found = VideoGrid(*latent.shape[2:])
    if (found.height * ratio, found.width * ratio) != layout.grid[1:]:
        pixels = layout.scale.space
        height, width = (size * pixels / ratio for size in layout.grid[1:])
        raise ValueError(
            f"{name}: expected {width:g}x{height:g} pixels for this clip, found {found.width * pixels}x"
            f"{found.height * pixels}; prepare it for the size of this stage"
        )
    if found.frames != (frames or found.frames):
        raise ValueError(f"{name}: expected {frames} latent frames, found {found.frames}")
    return patchify_video(latent)


def audio_content(name: str, latent: Tensor, state: StreamState, *, tokens: int | None = None) -> Tensor:
    """Tokens (1 or B, t, C) of an audio latent (1 or B, 8, t, bins), `tokens` of them unless None."""
    layout = audio_layout(name, state)
    if latent.ndim != 4:
        raise ValueError(f"{name}: expected an audio latent (B, C, T, bins), found shape {tuple(latent.shape)}")
    if tokens is not None and latent.shape[2] != tokens:
        rate = layout.rate.latents_per_second
        raise ValueError(
            f"{name}: expected an audio latent of {tokens} frames ({tokens / rate:.2f} s) for this clip, found "
            f"{latent.shape[2]} ({latent.shape[2] / rate:.2f} s); cut the sound or pad it with silence"
        )
    return patchify_audio(latent)


def video_layout(name: str, state: StreamState) -> VideoLayout:
    if not isinstance(state.layout, VideoLayout):
        raise ValueError(f"{name}: expected the video stream, found {_stream(state)}; apply it to video")
    return state.layout


def audio_layout(name: str, state: StreamState) -> AudioLayout:
    if not isinstance(state.layout, AudioLayout):
        raise ValueError(f"{name}: expected the audio stream, found {_stream(state)}; apply it to audio")
    return state.layout


def check_strength(name: str, strength: float) -> None:
    if not 0 <= strength <= 1:
        raise ValueError(f"{name}: expected a strength from 0 (free) to 1 (kept exactly), found {strength:g}")


def _stream(state: StreamState) -> str:
    if state.layout is None:
        return "a state without a layout"
    return "video" if isinstance(state.layout, VideoLayout) else "audio"
