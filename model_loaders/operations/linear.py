"""A linear layer whose weight stays in its stored form and is dequantised in each call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..lora.adapters import LowRank, concatenated
from ..quantisation.layer import WEIGHT, QuantisedLayer
from . import kitchen
from .scaled_mm import can_multiply, scaled_product

Change = Callable[[Tensor], Tensor]

# how a product with a stored weight is taken
EXACT, SCALED, KITCHEN = "dequantised in each call", "products of 8-bit floats", "products by comfy-kitchen"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a stored weight becomes numbers.

    name: for reports. dequantise: (tensors by part, dtype) → weight (N', K'), padding included. layer: where the
    weight is in one of the formats of `quantisation`.
    """

    name: str
    dequantise: Callable[[Mapping[str, Tensor], torch.dtype], Tensor]
    layer: QuantisedLayer | None = None


class StoredLinear(nn.Linear):
    """`nn.Linear`, until `store` gives it a weight in stored form.

    The parts of that weight are parameters under the file's names (`weight`, `weight_scale`, …); moving the module
    moves them, casting it leaves them alone. A LoRA is added as a pair of thin products, or where it is no such pair
    as a change of the dequantised weight in each call.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, **options: Any) -> None:
        super().__init__(in_features, out_features, bias, **options)
        self.recipe: Recipe | None = None
        self.pair: LowRank | None = None
        self.changes: tuple[Change, ...] = ()
        self._parts: tuple[str, ...] = ()

    def store(self, tensors: Mapping[str, Tensor], recipe: Recipe) -> None:
        """Replace the weight by `tensors`, which must hold at least the part `weight`."""
        self.recipe, self._parts = recipe, tuple(tensors)
        for part, tensor in tensors.items():
            self.register_parameter(part, nn.Parameter(tensor, requires_grad=False))

    def add_pairs(self, pairs: Sequence[LowRank]) -> None:
        """Low-rank updates for every call from now on."""
        self.pair = concatenated([*([] if self.pair is None else [self.pair]), *pairs])

    @property
    def stored_parts(self) -> tuple[str, ...]:
        """Names of the parameters that keep their dtype."""
        return self._parts

    def move_pair(self, device: torch.device) -> None:
        """The low-rank updates alone."""
        if self.pair is not None:
            self.pair = replace(self.pair, down=self.pair.down.to(device), up=self.pair.up.to(device))

    def dense_weight(self, dtype: torch.dtype) -> Tensor:
        """The weight (N, K) in `dtype`, with all changes but the low-rank pair."""
        if self.recipe is None:
            return self.weight.to(dtype)
        values = self.recipe.dequantise(self._tensors(), torch.float32 if self.changes else dtype)
        values = values[: self.out_features, : self.in_features]
        for change in self.changes:
            values = change(values)
        return values.to(dtype)

    def forward(self, input: Tensor) -> Tensor:
        """(…, K) → (…, N) in the dtype of the input."""
        output = super().forward(input) if self.recipe is None else self._stored_product(input, self.recipe)
        return output if self.pair is None else output + self.pair(input)

    def way(self, x: Tensor) -> str:
        """How a product with an input of the dtype and on the device of x is taken: EXACT, SCALED or KITCHEN."""
        layer = None if self.recipe is None or self.changes else self.recipe.layer
        if layer is None:
            return EXACT
        if can_multiply(x, self._tensors(), layer):
            return SCALED
        return KITCHEN if kitchen.can_multiply(x, self._tensors(), layer) else EXACT

    def _stored_product(self, x: Tensor, recipe: Recipe) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        learning = torch.is_grad_enabled() and x.requires_grad  # a product of 8-bit floats has no gradient
        way = EXACT if learning else self.way(x)
        if way == EXACT or recipe.layer is None:
            return F.linear(x, self.dense_weight(x.dtype), bias)
        if way == SCALED:
            return scaled_product(x, self._tensors(), bias)
        return kitchen.product(x, self._tensors(), recipe.layer, bias, self.out_features)

    def _tensors(self) -> dict[str, Tensor]:
        return {part: getattr(self, part) for part in self._parts}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> StoredLinear:
        """Stored parts follow to another device, never to another dtype: float8 would be widened, scales rounded."""
        stored = {part: self._parameters.pop(part) for part in self._parts}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for part, tensor in stored.items():
            assert tensor is not None
            device = fn(torch.empty(0, device=tensor.device)).device
            moved = tensor if tensor.device == device else nn.Parameter(tensor.to(device), requires_grad=False)
            self._parameters[part] = moved
        if self.pair is not None:
            self.pair = replace(self.pair, down=fn(self.pair.down), up=fn(self.pair.up))
        return self

    def extra_repr(self) -> str:
        stored = "" if self.recipe is None else f", stored={self.recipe.name}"
        return super().extra_repr() + stored


assert WEIGHT == "weight", "the stored form takes the place of nn.Linear's own parameter"
