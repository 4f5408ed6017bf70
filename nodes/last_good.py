"""What a run leaves on disk where the network breaks: the last good latent, named by the error."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from safetensors.torch import save_file
from torch import Tensor

from ..media.targets import whole_file
from ..samplers.steps import StepReport
from ..samplers.streams import Streams
from .health import Health
from .host.api import output_file
from .latents import Latent, members


class LastGood:
    """`with LastGood(latent, finish) as good:` with `good` as a step callback of the run inside.

    After a FloatingPointError it holds on to the prediction of the last good step, or to the stage's own start where
    the first step broke, writes it and says where. finish: tokens of a prediction → the LATENT of the stage. health:
    knows the layer that broke.
    """

    def __init__(self, start: Latent, finish: Callable[[Streams[Tensor]], Latent], health: Health) -> None:
        self._start, self._finish, self._health = start, finish, health
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
        layer = self._health.layer
        text = f"{error}" if layer is None else f"{error}; first in the layer {layer}"
        if self._last is None:
            path = save_latent(self._start, {"step": "0"})
            raise FloatingPointError(f"{text}; no step was good: the stage's start is in {path}") from error
        step = {"step": str(self._last.index + 1), "sigma": repr(self._last.sigma)}
        path = save_latent(self._finish(self._last.x0), step)
        raise FloatingPointError(f"{text}; the latent of the step before is in {path}") from error


def save_latent(latent: Latent, notes: dict[str, str]) -> str:
    """The streams of a LATENT in a new file of the output folder, with notes in its metadata; its path."""
    file = output_file("last_good_latent", ".safetensors")
    streams = {name: value.contiguous().cpu() for name, value in vars(members(latent)).items() if value is not None}
    with whole_file(file.path) as beside:
        save_file(streams, beside, notes)
    return str(file.path)
