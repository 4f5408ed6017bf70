"""A clip of a scene: frames, waveform, caption and the truth that a judge needs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from ...networks.audio_vae import mel_frames
from .picture import draw_frames
from .scene import Scene
from .sound import draw_sound

SAMPLE_RATE = 16000  # Hz, what the audio VAE hears
HOP = 160
LATENTS_PER_SECOND = 25


@dataclass(frozen=True, kw_only=True)
class Clip:
    """frames float32 (T, H, W, 3) in 0..1; waveform float32 (2, N) at 16 kHz, as long as the audio latent decodes to.

    events: seconds at which something is seen and heard together.
    """

    scene: Scene
    frames: Tensor
    waveform: Tensor
    events: tuple[float, ...]
    fps: float

    @property
    def caption(self) -> str:
        return self.scene.caption

    @property
    def video(self) -> Tensor:
        """(3, T, H, W) in -1..1, as the video VAE takes it."""
        return rearrange(self.frames * 2 - 1, "t h w c -> c t h w")


def samples_of(frames: int, fps: float = 24.0) -> int:
    """Samples at 16 kHz whose log-mel has as many frames as the audio latent of a clip of `frames` decodes to."""
    return (mel_frames(round(frames / fps * LATENTS_PER_SECOND)) - 1) * HOP


def make_clip(scene: Scene, *, frames: int = 49, height: int = 128, width: int = 128, fps: float = 24.0) -> Clip:
    """The clip of a scene; the same for the same arguments."""
    duration = frames / fps
    video = draw_frames(scene, frames=frames, height=height, width=width, fps=fps)
    sound = draw_sound(scene, samples=samples_of(frames, fps), rate=SAMPLE_RATE, duration=duration)
    return Clip(
        scene=scene,
        frames=torch.from_numpy(video),
        waveform=torch.from_numpy(sound),
        events=tuple(scene.events(duration)),
        fps=fps,
    )
