"""From velocity predictions to the `denoise` callable that every step rule takes.

A step rule never sees a network, a text or a guidance: only `denoise(latents, sigma, step) -> clean latents`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from .conversions import pull_to_clean, x0_from_velocity
from .guidance import Guidance, GuidanceAt, Pass, Predictions, guide, plan_passes
from .state import StreamState
from .streams import Streams

NO_NEGATIVES: Streams[bool] = Streams(video=False, audio=False)


@dataclass(frozen=True, kw_only=True)
class Denoised:
    """Predicted clean latents (B, T, C) of the streams.

    x0             guided, given tokens pulled to their clean value
    unconditioned  under the negative text alone, not pulled; only of a denoiser that was asked for it
    """

    x0: Streams[Tensor]
    unconditioned: Streams[Tensor] | None = None


class Denoise(Protocol):
    """Latents (B, T, C) at `sigma` (a float32 number on the CPU) -> predicted clean latents, in the latents' dtype.

    step: index of the schedule's step, for guidance that skips steps; None for evaluations between two steps.
    """

    def __call__(self, latents: Streams[Tensor], sigma: Tensor, step: int | None = None, /) -> Denoised: ...


class Remembering(Denoise, Protocol):
    """A denoiser whose next evaluation depends on the last ones, through nothing but what it tells here."""

    def memory(self) -> Streams[GuidanceMemory]:
        """As it is now; later evaluations do not change it."""

    def recall(self, memory: Streams[GuidanceMemory]) -> None:
        """Go on from what an equal denoiser told."""


class Predict(Protocol):
    """Velocities (B, T, C) of each pass, in the order of the passes, whether they ran batched or one by one.

    latents (B, T, C), timesteps (B, T, 1), sigmas (B,), each a value a stream.
    """

    def __call__(
        self,
        passes: Sequence[Pass],
        latents: Streams[Tensor],
        timesteps: Streams[Tensor],
        sigmas: Streams[Tensor],
        /,
    ) -> Sequence[Streams[Tensor]]: ...


@dataclass(kw_only=True)
class GuidanceMemory:
    """What a stream keeps from its last evaluation, (B, T, C) each."""

    guided: Tensor | None = None
    unconditioned: Tensor | None = None
    running: Tensor | None = None


class GuidedRun:
    """Which passes guidance needs at each evaluation of a run, and what it keeps from one to the next."""

    def __init__(
        self,
        guidance: Streams[GuidanceAt],
        *,
        frozen: Streams[bool],
        negative: Streams[bool] = NO_NEGATIVES,
        unconditioned: bool = False,
    ) -> None:
        """frozen: streams that are wholly given; they ask for nothing. negative, unconditioned: see `Denoiser`."""
        self._guidance, self._frozen = guidance, frozen
        self._negative, self._unconditioned = negative, unconditioned
        self._memories = frozen.map(lambda _: GuidanceMemory())
        frozen.map(_refuse_missing_text, guidance, negative)

    def update(
        self, sigma: float, step: int | None, predict: Callable[[Sequence[Pass]], Sequence[Streams[Tensor]]]
    ) -> None:
        """One evaluation. predict: passes -> predictions of x0 (B, T, C) in their order; not called if none is due."""
        guidance: Streams[Guidance] = self._frozen.map(lambda _, own: own.at(sigma), self._guidance)
        skipped = self._frozen.map(
            lambda frozen, own, memory: _skips(frozen, own, memory, step), guidance, self._memories
        )
        # The prediction of a frozen stream is its clean latent: it asks for nothing, but the other stream reads it.
        asking = self._frozen.map(lambda frozen, skips: not (frozen or skips), skipped)
        if not any(asking.present()):
            return
        passes = plan_passes(
            guidance,
            asking=asking,
            enabled=skipped.map(lambda skips: not skips),
            negative=self._negative,
            unconditioned=self._unconditioned,
        )
        names = [a_pass.name for a_pass in passes]

        def remember(memory: GuidanceMemory, asks: bool, own: Guidance, *of_passes: Tensor) -> None:
            if asks:
                predictions = Predictions(**dict(zip(names, of_passes, strict=True)))
                memory.guided, memory.running = guide(predictions, own, memory.running)
                if self._unconditioned:
                    u = predictions.unconditioned
                    memory.unconditioned = predictions.conditioned if u is None else u

        self._memories.map(remember, asking, guidance, *predict(passes))

    def memory(self) -> Streams[GuidanceMemory]:
        """What is kept from evaluation to evaluation; later ones do not change it."""
        return self._memories.map(replace)

    def recall(self, memory: Streams[GuidanceMemory]) -> None:
        """Go on from what `memory` gave of an equal run."""
        self._memories = memory.map(replace)

    def guided(self, otherwise: Streams[Tensor]) -> Streams[Tensor]:
        """The last guided predictions; of a stream that never had one, `otherwise`."""
        return otherwise.map(lambda own, memory: own if memory.guided is None else memory.guided, self._memories)

    def unconditioned(self, otherwise: Streams[Tensor]) -> Streams[Tensor] | None:
        """The last unconditioned predictions; None if they were not asked for."""
        if not self._unconditioned:
            return None
        return otherwise.map(
            lambda own, memory: own if memory.unconditioned is None else memory.unconditioned, self._memories
        )


class Denoiser:
    """Guided, mask-blended prediction of the clean latent at a sigma (spec sampling.md sections 4 and 7).

    It remembers the last predictions (for skipped steps and momentum): make a new one for every run.
    """

    def __init__(
        self,
        states: Streams[StreamState],
        guidance: Streams[GuidanceAt],
        predict: Predict,
        *,
        negative: Streams[bool] = NO_NEGATIVES,
        unconditioned: bool = False,
    ) -> None:
        """negative: which streams have a negative text; ValueError where the guidance of one needs it and it has none.

        unconditioned: also return the unconditioned prediction, at any scale (CFG++). A stream without a negative text
        keeps its positive one; if no stream has any, it is the conditioned prediction and costs no pass.
        """
        self._states, self._predict = states, predict
        frozen = states.map(lambda state: state.frozen)
        self._run = GuidedRun(guidance, frozen=frozen, negative=negative, unconditioned=unconditioned)

    def __call__(self, latents: Streams[Tensor], sigma: Tensor, step: int | None = None, /) -> Denoised:
        self._run.update(float(sigma), step, lambda passes: self._predictions(passes, latents, sigma))
        clean = latents.map(lambda latent, state: state.clean.to(latent), self._states)
        guided = self._run.guided(clean)
        return Denoised(
            x0=guided.map(lambda x0, state: pull_to_clean(x0, state.clean, state.mask), self._states),
            unconditioned=self._run.unconditioned(clean),
        )

    def memory(self) -> Streams[GuidanceMemory]:
        return self._run.memory()

    def recall(self, memory: Streams[GuidanceMemory]) -> None:
        self._run.recall(memory)

    def _predictions(
        self, passes: Sequence[Pass], latents: Streams[Tensor], sigma: Tensor
    ) -> Sequence[Streams[Tensor]]:
        """Of x0, from one call of the network."""
        timesteps = self._states.map(lambda state: state.mask * sigma)
        sigmas = self._states.map(lambda state: _scalar_sigma(state, sigma))
        velocities = self._predict(passes, latents, timesteps, sigmas)
        return [latents.map(x0_from_velocity, velocity, timesteps) for velocity in velocities]


def _refuse_missing_text(frozen: bool, guidance: GuidanceAt, has_negative: bool | None) -> None:
    wanted = any(parameters.wants("unconditioned") for parameters in guidance.sets())
    if wanted and not has_negative and not frozen:
        raise ValueError("negative: text guidance needs a negative prompt (an empty one will do), found none")


def _skips(frozen: bool, guidance: Guidance, memory: GuidanceMemory, step: int | None) -> bool:
    return step is not None and not frozen and memory.guided is not None and guidance.skips(step)


def _scalar_sigma(state: StreamState, sigma: Tensor) -> Tensor:
    """(B,) float32: the schedule's sigma, 0 for a frozen stream; never the maximum over the tokens."""
    batch = state.latent.shape[0]
    if state.frozen:
        return torch.zeros(batch, dtype=torch.float32, device=state.latent.device)
    return sigma.to(state.latent.device, torch.float32).expand(batch)
