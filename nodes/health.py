"""Is what a network gives a number? If not: once more with exact attention, then the first layer to blame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import Tensor, nn

from ..networks.attention import attention_backend, backend_name, exact
from ..samplers.streams import Streams
from .host.api import warn_user

Predictions = Sequence[Streams[Tensor]]


class Health:
    """Of one stage. layer: the first one whose output was no number, once that has happened for good."""

    def __init__(self) -> None:
        self.layer: str | None = None
        self._exact = False

    def checked(self, evaluate: Callable[[], Predictions], network: nn.Module) -> Predictions:
        """What `evaluate` gives. Where that is no number it is evaluated once more, and so are all later ones, with
        exact attention; if that does not help, a third time to find the layer, and the caller gets what there is."""
        found = self._evaluated(evaluate)
        if _finite(found):
            return found
        if not self._exact:
            name, self._exact = backend_name(), True
            found = self._evaluated(evaluate)
            if _finite(found):
                warn_user(f"the network gave NaN or infinity with {name} attention: this stage goes on with exact one")
                return found
        with first_broken_layer(network) as broken:
            self._evaluated(evaluate)
        self.layer = broken[0] if broken else None
        return found

    def _evaluated(self, evaluate: Callable[[], Predictions]) -> Predictions:
        with attention_backend(exact) if self._exact else nullcontext():
            return evaluate()


@contextmanager
def first_broken_layer(network: nn.Module) -> Iterator[list[str]]:
    """Names of the layers of `network` whose outputs are no numbers, in the order in which they come.

    A layer comes before the ones that it is a part of, so the first is the smallest that names the fault.
    """
    broken: list[str] = []
    handles = []

    def watching(name: str) -> Any:
        def look(module: nn.Module, inputs: Any, output: Any) -> None:
            if not all(bool(tensor.isfinite().all()) for tensor in _tensors(output)):
                broken.append(f"{name or 'as a whole'} ({type(module).__name__})")

        return look

    try:
        for name, module in network.named_modules():
            handles.append(module.register_forward_hook(watching(name)))
        yield broken
    finally:
        for handle in handles:
            handle.remove()


def _finite(predictions: Predictions) -> bool:
    return all(bool(tensor.isfinite().all()) for streams in predictions for tensor in streams.present())


def _tensors(value: Any) -> Iterable[Tensor]:
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _tensors(part)
