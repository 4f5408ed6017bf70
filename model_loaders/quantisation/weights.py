"""The tensors of a component as if none of them was quantised."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..assemble import Network, assign, build_on_meta, refuse_mismatch
from ..checkpoint import Checkpoint, CheckpointError
from ..collector import uncollected
from ..gguf.blocks import QUANTISED_TYPES
from .discovery import LEGACY_MARKER, companions, quantised_layers
from .formats import dequantise, padded, stored_shape
from .layer import QuantisedLayer

Shapes = Mapping[str, tuple[int, ...]]

PLAIN = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
# without a scale: an ordinary tensor in a narrow dtype; blocks of a GGUF file hold their scales themselves
CAST = ("F8_E4M3", "F8_E5M2", *QUANTISED_TYPES)


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Parameters of one network, or a part of them, in one file; nothing but headers has been read."""

    file: Checkpoint
    tensors: dict[str, str]  # {parameter name: name in the file}
    quantised: dict[str, QuantisedLayer]  # by parameter name

    @property
    def names(self) -> list[str]:
        """In the file, scales included."""
        stored = (name for layer in self.quantised.values() for name in layer.tensors.values())
        return list(dict.fromkeys([*self.tensors.values(), *stored]))

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the parameters; a quantised one may be padded."""
        shapes = {name: self.file.entries[key].shape for name, key in self.tensors.items()}
        shapes.update((name, stored_shape(layer, shapes[name])) for name, layer in self.quantised.items())
        return shapes

    @property
    def is_quantised(self) -> bool:
        """Whether any parameter is stored in something else than an ordinary float type."""
        return bool(self.quantised) or any(self.file.entries[key].dtype in CAST for key in self.tensors.values())

    @property
    def plain_dtype(self) -> torch.dtype | None:
        """dtype of the first parameter that is not quantised; None where all are."""
        dtypes = (self.file.entries[key].dtype for name, key in self.tensors.items() if name not in self.quantised)
        return next((PLAIN[dtype] for dtype in dtypes if dtype in PLAIN), None)

    def shapes_for(self, expected: Shapes) -> dict[str, tuple[int, ...]]:
        """The shapes that `load` can give: those expected wherever padding is the only difference."""
        shapes = self.shapes
        for name, layer in self.quantised.items():
            if name in expected and padded(layer, expected[name]) == shapes[name]:
                shapes[name] = expected[name]
        return shapes

    def load(self, expected: Shapes, dtype: torch.dtype) -> dict[str, Tensor]:
        """The parameters: quantised ones computed in float32 and rounded to `dtype`, others as they are in the file.

        Raises CheckpointError for a tensor in a dtype that is no weight's.
        """
        self._refuse_odd_dtypes()
        plain = self.file.load([key for key in self.tensors.values() if self.file.entries[key].dtype in PLAIN])
        loaded: dict[str, Tensor] = {}
        for name, key in self.tensors.items():
            layer = self.quantised.get(name)
            if layer is None:
                loaded[name] = plain[key] if key in plain else self.file.load([key])[key].to(dtype)
            else:
                loaded[name] = self._dequantised(layer, expected[name]).to(dtype)
        return loaded

    def _dequantised(self, layer: QuantisedLayer, shape: tuple[int, ...]) -> Tensor:
        tensors = self.file.load(list(layer.tensors.values()))  # a layer at a time: float32 is four times the file
        try:
            weight = dequantise({part: tensors[key] for part, key in layer.tensors.items()}, layer)
        except ValueError as error:
            raise CheckpointError(f"{self.file.path}: {error}; download the file again") from error
        return weight[tuple(slice(size) for size in shape)]

    def _refuse_odd_dtypes(self) -> None:
        for name, key in self.tensors.items():
            dtype = self.file.entries[key].dtype
            if name not in self.quantised and dtype not in (*PLAIN, *CAST):
                raise CheckpointError(
                    f"{self.file.path}: {key}: expected a weight in {', '.join((*PLAIN, *CAST))} or the description of "
                    f"its quantisation, found {dtype} without one; use a file in another format"
                )


def plain_weights(file: Checkpoint, tensors: Mapping[str, str]) -> Weights:
    """Split the tensors of a component, {name after its prefix: name in the file}, into parameters and their scales."""
    layers = quantised_layers(file, tensors.values())
    weights = {layer.tensors["weight"]: layer for layer in layers.values()}
    others = {name for layer in layers.values() for name in companions(layer)}
    parameters = {
        name: key for name, key in tensors.items() if key not in others and name.split(".")[-1] != LEGACY_MARKER
    }
    quantised = {name: weights[key] for name, key in parameters.items() if key in weights}
    return Weights(file=file, tensors=parameters, quantised=quantised)


@uncollected()
def assemble_plain(
    build: Callable[[], Network], parts: Sequence[Weights], *, what: str, dtype: torch.dtype | None = None
) -> Network:
    """As `assemble`, from several files and from quantised ones: the network then holds plain weights.

    dtype: of the weights that are quantised in the file; None: that of the plain ones beside them, or bfloat16.
    """
    for part in parts:
        part.file.read_ahead(part.names)
    network = build_on_meta(build)
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: shape for part in parts for name, shape in part.shapes_for(expected).items()}
    refuse_mismatch(network, found, parts[0].file, what)
    if dtype is None:
        dtype = next((part.plain_dtype for part in parts if part.plain_dtype is not None), torch.bfloat16)
    state = {name: tensor for part in parts for name, tensor in part.load(expected, dtype).items()}
    return assign(network, state)
