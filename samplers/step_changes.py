"""Changes in each step of any rule: clean predictions drawn to statistics, latents scaled (spec pipelines.md 18).

Both are for tuning by hand: they hold back what grows from step to step, colours or loudness.
"""

# B batch, T tokens (N grid tokens, then appended ones), C features of a token, c channels and f bins of a latent
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from einops import rearrange
from torch import Tensor

from .conversions import pull_to_clean
from .denoiser import Denoise, Denoised
from .long_video import Target, normalise_statistics, transfer_statistics
from .state import AudioLayout, StreamState
from .steps import StepCallback, StepReport
from .steps.given import restore
from .streams import Streams

AUDIO_CHANNELS = 8  # of a stream whose layout is not known
HELD_BACK = (1.0, 1.0, 0.25, 1.0, 1.0, 0.25, 1.0, 1.0)  # of the sound, in the node pack's sampler


@dataclass(frozen=True, kw_only=True, eq=False)
class SteadyX0:
    """How the clean prediction of each step is drawn to statistics, per sample and channel, before the step uses it.

    factors    by step, 0 (not at all) to 1; the last one holds for all further steps; a stream without any stays
    reference  latents (B, C, F, H, W) and (B, 8, T, bins) whose mean and deviation are the goal; of a stream without
               one it is `target`
    """

    factors: Streams[Sequence[float]]
    reference: Streams[Tensor] = Streams()
    target: Target = Target()

    def __post_init__(self) -> None:
        for factors in self.factors.present():
            check_factors(factors, most=1.0)

    def over(self, denoise: Denoise, states: Streams[StreamState]) -> Denoise:
        """`denoise`, changed. Given tokens stay given, and appended ones are left alone."""
        return _Steady(denoise, states, self)

    def changed(self, x0: Tensor, state: StreamState, reference: Tensor | None, factor: float) -> Tensor:
        """A prediction (B, T, C) of one stream."""
        if factor == 0:
            return x0
        channels = _channels(state)
        grid, appended = x0[:, : state.grid_tokens].float(), x0[:, state.grid_tokens :]
        latent = rearrange(grid, "b t (c f) -> b c t f", c=channels)
        if reference is None:
            steady = normalise_statistics(latent, self.target, factor)
        else:
            steady = transfer_statistics(latent, reference.to(latent).flatten(2)[..., None], factor)
        tokens = rearrange(steady, "b c t f -> b t (c f)").to(x0)
        return pull_to_clean(torch.cat([tokens, appended], dim=1), state.clean, state.mask)


class _Steady:
    def __init__(self, denoise: Denoise, states: Streams[StreamState], how: SteadyX0) -> None:
        self._denoise, self._states, self._how, self._step = denoise, states, how, 0

    def __call__(self, latents: Streams[Tensor], sigma: Tensor, step: int | None = None, /) -> Denoised:
        self._step = self._step if step is None else step  # between two steps: as in the one before
        denoised = self._denoise(latents, sigma, step)

        def changed(
            x0: Tensor, state: StreamState, reference: Tensor | None, factors: Sequence[float] | None
        ) -> Tensor:
            factor = 0.0 if factors is None else factor_at(factors, self._step)
            return self._how.changed(x0, state, reference, factor)

        x0 = denoised.x0.map(changed, self._states, self._how.reference, self._how.factors)
        return replace(denoised, x0=x0)


def scaled_after(
    factors: Streams[Sequence[float]], states: Streams[StreamState], callback: StepCallback | None
) -> StepCallback:
    """A callback that multiplies latents after each step, beside what `callback` does.

    factors: by step, 0 or more; the last one holds for all further steps; a stream without any stays. Given tokens
    stay as they are. For rules that keep nothing from step to step it is what a run split there gives.
    """
    for own in factors.present():
        check_factors(own)

    def stepped(report: StepReport) -> Streams[Tensor]:
        changed = None if callback is None else callback(report)
        latents = report.latents if changed is None else changed

        def scaled(latent: Tensor, own: Sequence[float] | None) -> Tensor:
            factor = 1.0 if own is None else factor_at(own, report.index)
            return latent if factor == 1 else latent * factor

        return restore(latents.map(scaled, factors), states)

    return stepped


def factor_at(factors: Sequence[float], step: int) -> float:
    """The factor of a step: the last one holds for all further steps."""
    return factors[min(step, len(factors) - 1)]


def check_factors(factors: Sequence[float], *, most: float = float("inf")) -> None:
    """ValueError for none at all, and for factors below 0 or above `most`."""
    if not factors or not all(0 <= factor <= most for factor in factors):
        upper = "" if most == float("inf") else f" to {most:g}"
        raise ValueError(f"factors: expected numbers from 0{upper}, one a step, found {list(factors)}")


def _channels(state: StreamState) -> int:
    """Of the latent whose cells are tokens: a video token is one value a channel, an audio token several."""
    if isinstance(state.layout, AudioLayout):
        return state.layout.channels
    if state.layout is None and state.positions.shape[1] == 1:  # one axis: sound
        return AUDIO_CHANNELS
    return int(state.latent.shape[2])
