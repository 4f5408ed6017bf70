"""What is denoised: one state a stream, token-shaped; how a stage begins and ends (spec sampling.md section 2)."""

# B batch, T tokens (N grid tokens, then appended ones), C features of a token, K keyframe slots
# F H W latent frames, rows, columns
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from .attention_strength import AttentionStrength
from .noise import add_noise
from .shapes import AUDIO_RATE, SCALE, AudioRate, ScaleFactors, VideoGrid, pixel_frames
from .tokens import (
    audio_positions,
    first_frame_marks,
    patchify_audio,
    patchify_video,
    unpatchify_audio,
    unpatchify_video,
    video_positions,
)


@dataclass(frozen=True, kw_only=True)
class VideoLayout:
    """What the grid tokens of a video stream stand for; `fps` is the frame rate of the conditioning."""

    grid: VideoGrid
    fps: float
    scale: ScaleFactors = SCALE

    @property
    def tokens(self) -> int:
        return self.grid.tokens

    @property
    def frames(self) -> int:
        """Pixel frames of the clip."""
        return pixel_frames(self.grid.frames, scale=self.scale)


@dataclass(frozen=True, kw_only=True)
class AudioLayout:
    """What the grid tokens of an audio stream stand for: one latent frame each."""

    tokens: int
    channels: int = 8
    rate: AudioRate = AUDIO_RATE


Layout = VideoLayout | AudioLayout


@dataclass(frozen=True, kw_only=True)
class SlotLayout:
    """Where generated keyframes lie among the tokens (LTX-2.5; spec conditioning.md section 7)."""

    first_token: int
    tokens_per_slot: int
    frames: tuple[int, ...]  # pixel frame of each slot, rising


@dataclass(frozen=True, kw_only=True)
class StreamState:
    """One stream of the latent that a stage denoises.

    latent          (B, T, C) current noisy tokens
    clean           (B, T, C) what masked tokens are pulled to
    mask            (B, T, 1) float32, 1 = generated, 0 = given; values between are allowed
    positions       (1 or B, axes, T, 2) float32, [start, end): seconds, pixels, pixels
    frozen          the whole stream is given: mask 0 and scalar sigma 0
    layout          what the grid tokens are; None: all tokens are the grid and no items can be applied
    attention       strength of self-attention between tokens; None = full everywhere
    keyframe_marks  (1 or B, T, 1), video: 1 on latent frame 0 and on generated keyframe slots (LTX-2.5 reads them)
    slots           where the generated keyframe slots are, if any
    """

    latent: Tensor
    clean: Tensor
    mask: Tensor
    positions: Tensor
    frozen: bool = False
    layout: Layout | None = None
    attention: AttentionStrength | None = None
    keyframe_marks: Tensor | None = None
    slots: SlotLayout | None = None

    @property
    def grid_tokens(self) -> int:
        """N: tokens of the generated grid; all others were appended by items and are dropped after the stage."""
        return self.latent.shape[1] if self.layout is None else self.layout.tokens


class StageResult(NamedTuple):
    """What a stage leaves of one stream: its latent, and the generated keyframes (B, C, K, H, W) if it had slots."""

    latent: Tensor
    slots: Tensor | None


def fresh_state(tokens: Tensor, positions: Tensor, mask: Tensor | None = None) -> StreamState:
    """The state of a stage before noise: `tokens` (B, T, C) is both the start latent and the clean one."""
    if mask is None:
        mask = torch.ones(*tokens.shape[:2], 1, dtype=torch.float32, device=tokens.device)
    return StreamState(latent=tokens, clean=tokens, mask=mask, positions=positions)


def video_state(latent: Tensor, fps: float, *, scale: ScaleFactors = SCALE) -> StreamState:
    """The state of a video stream before items and noise; on the device of `latent`.

    latent (B, C, F, H, W): the start latent, zeros for a fresh stage; fps: frame rate of the conditioning.
    """
    tokens = patchify_video(latent)
    grid = VideoGrid(*latent.shape[2:])
    fresh = fresh_state(tokens, video_positions(grid, fps, scale=scale).to(latent.device))
    marks = first_frame_marks(grid).to(latent.device)
    return replace(fresh, layout=VideoLayout(grid=grid, fps=fps, scale=scale), keyframe_marks=marks)


def audio_state(latent: Tensor, *, rate: AudioRate = AUDIO_RATE) -> StreamState:
    """The state of an audio stream before items and noise; latent (B, 8, T, bins), zeros for a fresh stage."""
    tokens = patchify_audio(latent)
    fresh = fresh_state(tokens, audio_positions(latent.shape[2], rate=rate).to(latent.device))
    return replace(fresh, layout=AudioLayout(tokens=latent.shape[2], channels=latent.shape[1], rate=rate))


def noised(state: StreamState, noise: Tensor, level: float | Tensor) -> StreamState:
    """The state with noise in it, after all items (spec sampling.md section 3).

    noise (B, T, C), appended tokens included; level: 1 for a fresh stage, the first sigma for a refinement stage. A
    frozen stream takes level 0 and mask 0 whatever is asked. Raises ValueError for noise of another shape.
    """
    if noise.shape != state.latent.shape:
        raise ValueError(
            f"noise: expected shape {tuple(state.latent.shape)}, found {tuple(noise.shape)}; "
            "draw it after all items, for appended tokens too"
        )
    latent = add_noise(state.latent, state.clean, state.mask, noise, 0.0 if state.frozen else level)
    mask = torch.zeros_like(state.mask) if state.frozen else state.mask
    return replace(state, latent=latent, mask=mask)


def without_appended(state: StreamState) -> StreamState:
    """The grid alone, as a state of its own: no appended tokens, attention strengths or slots, and a mask of ones."""
    n = state.grid_tokens
    return replace(
        state,
        latent=state.latent[:, :n],
        clean=state.clean[:, :n],
        mask=torch.ones_like(state.mask[:, :n]),
        positions=state.positions[:, :, :n],
        attention=None,
        keyframe_marks=None if state.keyframe_marks is None else state.keyframe_marks[:, :n],
        slots=None,
    )


def end_stage(state: StreamState) -> StageResult:
    """The latents of a finished stage: (B, C, F, H, W) or (B, 8, T, bins), and the generated keyframes if any."""
    assert state.layout is not None, "a state without a layout cannot become a latent"
    tokens = state.latent[:, : state.grid_tokens]
    if isinstance(state.layout, AudioLayout):
        return StageResult(unpatchify_audio(tokens, channels=state.layout.channels), None)
    return StageResult(unpatchify_video(tokens, state.layout.grid), _slot_latents(state, state.layout.grid))


def _slot_latents(state: StreamState, grid: VideoGrid) -> Tensor | None:
    """Slots as frames (B, C, K, H, W); each is decoded alone, as a clip of one frame."""
    if state.slots is None:
        return None
    first, count = state.slots.first_token, len(state.slots.frames)
    tokens = state.latent[:, first : first + count * state.slots.tokens_per_slot]
    return rearrange(tokens, "b (k h w) c -> b c k h w", k=count, h=grid.height, w=grid.width)
