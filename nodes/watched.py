"""A stage whose model somebody looks at: which evaluation, and which samples of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from ..model_loaders.placement import Placement
from ..networks.transformer import Transformer
from ..networks.transformer.watch import Watch
from ..samplers.denoiser import Denoise, Denoised, Predict
from ..samplers.guidance import Pass
from ..samplers.streams import Streams

Make = Callable[[Transformer, Placement], Predict]


class WatchedSteps:
    """A `Denoise` that tells the watch which step it is at."""

    def __init__(self, denoise: Denoise, watch: Watch, steps: int) -> None:
        self._denoise, self._watch, self._steps = denoise, watch, steps

    def __call__(self, latents: Streams[Tensor], sigma: Tensor, step: int | None = None, /) -> Denoised:
        self._watch.due = self._watch.is_due(step, self._steps)
        return self._denoise(latents, sigma, step)


def watched(make: Make, watch: Watch | None) -> Make:
    """`make`, whose predictions show the attention of the pass under the positive text: the first of an evaluation."""
    if watch is None:
        return make

    def made(network: Transformer, placement: Placement) -> Predict:
        predict = make(network, placement)

        def predictions(
            passes: Sequence[Pass], latents: Streams[Tensor], timesteps: Streams[Tensor], sigmas: Streams[Tensor], /
        ) -> Sequence[Streams[Tensor]]:
            if not watch.due or passes[0].name != "conditioned":
                return predict(passes, latents, timesteps, sigmas)
            with watch.over(network, slice(0, len(latents.present()[0]))):
                return predict(passes, latents, timesteps, sigmas)

        return predictions

    return made
