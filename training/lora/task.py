"""What the training loop trains: adapters of a frozen transformer, on cached latents and contexts."""

# B batch, N tokens, C features, S text tokens
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ...networks.transformer import Transformer
from ...samplers.schedules import MAX_TOKENS, shift_exponent
from ...samplers.streams import Streams
from ..flow import flow_error
from ..optimiser import Rates
from .adapters import Adapters
from .config import LoraConfig
from .precompute import Cache
from .strategies import Latents, clean_states, moved, noisy_streams

EVALUATED = 8


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Everything random of a step: rows of the cache, noise levels, whether the first frame is given, the noise."""

    rows: tuple[int, ...]
    dropped: tuple[bool, ...]  # without caption
    levels: tuple[float, ...]  # quantiles in (0, 1)
    first_frame: bool
    noise_seed: int


class LoraTask:
    """The batches of a step depend on its number and the seed alone."""

    name = "lora"

    def __init__(self, config: LoraConfig, transformer: Transformer, adapters: Adapters, cache: Cache) -> None:
        self.config, self.transformer, self.adapters, self.cache = config, transformer, adapters, cache
        self.rates = Rates(adam=config.training.learning_rate, betas=(0.9, 0.99))
        self.hold = config.training.hold
        self.device = next(transformer.parameters()).device

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        return {"adapters": self.adapters}

    def loss(self, step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        """Of a step's last part; the gradients of the parts before it have been added up already."""
        parts = self.config.training.accumulate
        figures: dict[str, float] = {}
        for part in range(step * parts, (step + 1) * parts):
            losses = self.flow(self._draw(np.random.default_rng([self.config.training.seed, part]), part))
            for name, loss in vars(losses).items():
                if loss is not None:
                    figures[name] = figures.get(name, 0.0) + float(loss.detach()) / parts
            total = torch.stack(losses.present()).sum() / parts
            if part + 1 < (step + 1) * parts:
                total.backward()  # type: ignore[no-untyped-call]
        return total, figures

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """Mean losses over a fixed set of clips, noises and levels."""
        rows: dict[str, list[float]] = {}
        for index in range(EVALUATED):
            row, level = index % len(self.cache.clips), (index + 0.5) / EVALUATED
            fixed = Draw(rows=(row,), dropped=(False,), levels=(level,), first_frame=False, noise_seed=index)
            for name, loss in vars(self.flow(fixed)).items():
                if loss is not None:
                    rows.setdefault(name, []).append(float(loss))
        return {name: sum(values) / len(values) for name, values in rows.items()}

    def flow(self, draw: Draw) -> Streams[Tensor]:
        """Errors of the velocities of the streams that there are."""
        clips = moved(joined([self.cache.latents(row) for row in draw.rows]), self.device)
        first = clips.video[:, :, :1] if draw.first_frame else None
        states = clean_states(clips, fps=self.config.data.fps, first_frame=first, factors=self.config.lora.factors)
        generator = torch.Generator().manual_seed(draw.noise_seed)
        noises = states.map(lambda state: torch.randn(state.latent.shape, generator=generator).to(self.device))
        sigma = self.sigmas(draw.levels, tokens=clips.video[0, 0].numel()).to(self.device)
        streams = noisy_streams(states, noises, sigma, self._contexts(draw), self.transformer.dtype)
        velocities = Streams(*self.transformer(streams.video, streams.audio))
        return states.map(
            lambda state, noise, velocity: flow_error(velocity, noise - state.clean, state.mask), noises, velocities
        )

    def sigmas(self, levels: Sequence[float], *, tokens: int) -> Tensor:
        """Noise levels (B,) from quantiles: uniform, or a logit-normal that is shifted as the schedule is."""
        quantiles = torch.tensor(levels, dtype=torch.float32)
        if self.config.training.timesteps == "uniform":
            return quantiles
        shift = shift_exponent(min(tokens, MAX_TOKENS))  # beyond, official recipes do not shift further either
        return torch.sigmoid(torch.special.ndtri(quantiles) + shift)

    def _draw(self, generator: np.random.Generator, part: int) -> Draw:
        batch, training = self.config.training.batch, self.config.training
        strata = (np.arange(batch) + generator.uniform(0.001, 0.999, batch)) / batch
        return Draw(
            rows=tuple(self._row(part * batch + index) for index in range(batch)),
            dropped=tuple(bool(drop) for drop in generator.random(batch) < training.caption_dropout),
            levels=tuple(float(level) for level in generator.permutation(strata)),
            first_frame=bool(generator.random() < self.config.lora.first_frame_share),
            noise_seed=int(generator.integers(2**62)),
        )

    def _row(self, index: int) -> int:
        """Every clip once in each round, in an order of the round's own."""
        count = len(self.cache.clips)
        order = np.random.default_rng([self.config.training.seed, index // count, 1]).permutation(count)
        return int(order[index % count])

    def _contexts(self, draw: Draw) -> Streams[Tensor]:
        captions = ["" if drop else self.cache.clips[row][1] for row, drop in zip(draw.rows, draw.dropped, strict=True)]
        found = [self.cache.contexts(caption) for caption in captions]
        return found[0].map(lambda *parts: torch.cat(parts), *found[1:])


def joined(clips: Sequence[Latents]) -> Latents:
    """A batch of clips of one size."""

    def stacked(parts: list[Tensor | None]) -> Tensor | None:
        there = [part for part in parts if part is not None]
        return torch.cat(there) if there else None

    return Latents(
        video=torch.cat([clip.video for clip in clips]),
        audio=stacked([clip.audio for clip in clips]),
        reference=stacked([clip.reference for clip in clips]),
    )
