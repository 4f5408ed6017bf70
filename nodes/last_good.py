"""What a run leaves on disk where the network breaks: the last good latent, named by the error."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from safetensors.torch import save_file
from torch import Tensor

from ..samplers.steps import StepReport
from ..samplers.streams import Streams
from .host.api import output_file
from .latents import Latent, members


class LastGood:
    """`with LastGood(latent, finish) as good:` with `good` as a step callback of the run inside.

    After a FloatingPointError it holds on to the prediction of the last good step, or to the stage's own start where
    the first step broke, writes it and says where. finish: tokens of a prediction → the LATENT of the stage.
    """

    def __init__(self, start: Latent, finish: Callable[[Streams[Tensor]], Latent]) -> None:
        self._start, self._finish = start, finish
        self._last: StepReport | None = None

    def __enter__(self) -> LastGood:
        return self

    def __call__(self, report: StepReport) -> None:
        self._last = report

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not isinstance(error, FloatingPointError):
            return
        if self._last is None:
            path = save_latent(self._start, {"step": "0"})
            raise FloatingPointError(f"{error}; no step was good: the stage's start is in {path}") from error
        step = {"step": str(self._last.index + 1), "sigma": repr(self._last.sigma)}
        path = save_latent(self._finish(self._last.x0), step)
        raise FloatingPointError(f"{error}; the latent of the step before is in {path}") from error


def save_latent(latent: Latent, notes: dict[str, str]) -> str:
    """The streams of a LATENT in a new file of the output folder, with notes in its metadata; its path."""
    file = output_file("last_good_latent", ".safetensors")
    streams = {name: value.contiguous().cpu() for name, value in vars(members(latent)).items() if value is not None}
    save_file(streams, file.path, notes)
    return str(file.path)
