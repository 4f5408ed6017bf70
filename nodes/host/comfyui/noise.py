"""NOISE of ComfyUI's nodes for our samplers (spec sampling.md 9.5)."""

from __future__ import annotations

from dataclasses import InitVar, dataclass
from typing import Any

import torch
from torch import Tensor

from ....samplers.noise import Draw, SdeNoise, noise_source, sde_noise, step_noise
from ....samplers.state import AudioLayout, StreamState, VideoLayout
from ....samplers.streams import Streams
from ....samplers.tokens import patchify_audio, patchify_video
from ...latents import Latent, joined
from ...noise import NoiseSource
from .conditions import streams_of

APPENDED_SEED = 0x5DEECE66D  # added to the seed, for tokens that ComfyUI's noise knows nothing of


@dataclass
class NoiseObject:
    """An object with `seed` and `generate_noise(latent)`. The grid has its numbers; appended tokens have their own."""

    noise: InitVar[Any]
    seed: int
    kind: str  # for the run manifest

    def __post_init__(self, noise: Any) -> None:
        self._noise = noise

    def start(self, states: Streams[StreamState]) -> Streams[Tensor]:
        drawn = self._noise.generate_noise({"samples": joined(states.map(_empty))})
        members = drawn.unbind() if getattr(drawn, "is_nested", False) else [drawn]
        extra = noise_source(self.seed + APPENDED_SEED)

        def tokens(grid: Tensor, state: StreamState) -> Tensor:
            own = patchify_video(grid) if grid.ndim == 5 else patchify_audio(grid)
            missing = state.latent[:, own.shape[1] :].float().cpu()
            appended = extra(Streams(video=missing)).video
            assert appended is not None
            return torch.cat([own.float().cpu(), appended], dim=1)

        return streams_of(members).map(tokens, states)

    def generate_noise(self, latent: Latent) -> Any:
        return self._noise.generate_noise(latent)

    def steps(self) -> Draw:
        return step_noise(self.seed)

    def sde(self, seed: int) -> SdeNoise:
        return sde_noise(seed)


def _empty(state: StreamState) -> Tensor:
    """The latent that the grid tokens of a state come from, of zeros."""
    batch, _, channels = state.latent.shape
    if isinstance(state.layout, AudioLayout):
        return torch.zeros(batch, state.layout.channels, state.layout.tokens, channels // state.layout.channels)
    assert isinstance(state.layout, VideoLayout)
    return torch.zeros(batch, channels, *state.layout.grid)


def own_noise(noise: Any, name: str) -> NoiseSource:
    """A NOISE → random numbers for our samplers; ValueError for something that is none."""
    if hasattr(noise, "start") and hasattr(noise, "sde"):
        source: NoiseSource = noise
        return source
    if not hasattr(noise, "generate_noise") or not hasattr(noise, "seed"):
        raise ValueError(f"{name}: expected NOISE, found {type(noise).__name__}; connect RandomNoise or Noise (LTX)")
    return NoiseObject(noise, seed=int(noise.seed), kind=type(noise).__name__)
