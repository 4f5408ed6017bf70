"""ComfyUI's rule for a fractional noise mask m (spec sampling.md 9.3).

x_in = m x + (1-m) clean; the network is told m s; x0 = x_in - s v with the schedule's s; then x0 <- m x0 + (1-m) clean.
The official rule is x0 = x - m s v on a start that is mixed once. For masks of 0 and 1 both are the same.
"""

# B batch, T tokens, C features, K tokens that the network sees
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..conversions import pull_to_clean
from ..denoiser import NO_NEGATIVES, Denoised, Denoiser, GuidanceMemory, Predict
from ..guidance import GuidanceAt, Pass
from ..state import StreamState
from ..streams import Streams


def community_noised(state: StreamState, noise: Tensor, level: float | Tensor) -> StreamState:
    """The state at the start of a run: level·noise + (1 - level)·latent on every token, given ones too.

    noise (B, T, C), appended tokens included. The mask enters with every evaluation instead. A frozen stream gets
    mask 0; appended items see each other fully.
    """
    mask = torch.zeros_like(state.mask) if state.frozen else state.mask
    given = torch.where(mask == 1, state.latent.float(), state.clean.float())
    noised = level * noise.to(given) + (1 - level) * given
    attention = None if state.attention is None else state.attention.in_one_group()
    return replace(state, latent=noised.to(state.latent.dtype), mask=mask, attention=attention)


class CommunityDenoiser:
    """The `Denoise` callable of ComfyUI's rule; as `Denoiser` otherwise.

    The scalar sigma of a stream, which drives text modulation and cross-modal gates, is its largest token's.
    """

    def __init__(
        self,
        states: Streams[StreamState],
        guidance: Streams[GuidanceAt],
        predict: Predict,
        *,
        kept: Tensor | None = None,
        negative: Streams[bool] = NO_NEGATIVES,
        unconditioned: bool = False,
    ) -> None:
        """kept: indices (K,) of the video tokens that `predict` is made for (`CommunityStates.kept`); None: all."""
        self._states, self._predict, self._kept = states, predict, kept
        free = states.map(lambda state: replace(state, mask=torch.ones_like(state.mask)))
        self._inner = Denoiser(free, guidance, self._predict_masked, negative=negative, unconditioned=unconditioned)

    def __call__(self, latents: Streams[Tensor], sigma: Tensor, step: int | None = None, /) -> Denoised:
        mixed = latents.map(lambda x, state: pull_to_clean(x, state.clean, state.mask), self._states)
        denoised = self._inner(mixed, sigma, step)
        x0 = denoised.x0.map(lambda x, state: pull_to_clean(x, state.clean, state.mask), self._states)
        return replace(denoised, x0=x0)

    def memory(self) -> Streams[GuidanceMemory]:
        return self._inner.memory()

    def recall(self, memory: Streams[GuidanceMemory]) -> None:
        self._inner.recall(memory)

    def _predict_masked(
        self,
        passes: Sequence[Pass],
        latents: Streams[Tensor],
        timesteps: Streams[Tensor],
        sigmas: Streams[Tensor],
        /,
    ) -> Sequence[Streams[Tensor]]:
        """`timesteps` come as the schedule's sigma everywhere, because the inner denoiser knows no mask."""
        masked = self._shown(timesteps.map(lambda sigma, state: state.mask * sigma, self._states))
        largest = masked.map(lambda own: own.amax(dim=(1, 2)))
        velocities = self._predict(passes, self._shown(latents), masked, largest)
        return [self._spread(velocity, latents) for velocity in velocities]

    def _shown(self, values: Streams[Tensor]) -> Streams[Tensor]:
        if self._kept is None or values.video is None:
            return values
        return Streams(video=values.video[:, self._kept], audio=values.audio)

    def _spread(self, velocity: Streams[Tensor], latents: Streams[Tensor]) -> Streams[Tensor]:
        """Velocities of all tokens: 0 where the network sees none."""
        if self._kept is None or velocity.video is None or latents.video is None:
            return velocity
        video = torch.zeros_like(latents.video, dtype=torch.float32)
        video[:, self._kept] = velocity.video.float()
        return Streams(video=video, audio=velocity.audio)
