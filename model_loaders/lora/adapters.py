"""The arithmetic of adapters, in float32 (quantization.md sections 8.1 to 8.3).

`parts`: the tensors of one layer's adapter by the names of `keys`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .keys import DOWN, UP

Parts = Mapping[str, Tensor]
NUMBERS = ("alpha", "reshape_weight")  # read while an update is set up
LARGEST_SIZE = 2**20  # of an axis


@dataclass(frozen=True, kw_only=True)
class LowRank:
    """x → scale · (x downᵀ) upᵀ. down (r, K), up (N, r)."""

    down: Tensor
    up: Tensor
    scale: float

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    def __call__(self, x: Tensor) -> Tensor:
        """x (…, K) → (…, N) in the dtype of x."""
        return F.linear(F.linear(x, self.down.to(x)), self.up.to(x)) * self.scale


def concatenated(pairs: Sequence[LowRank]) -> LowRank:
    """Several pairs of one layer as one of the sum of their ranks; the scales go into `up`, in float32."""
    return LowRank(
        down=torch.cat([pair.down.float() for pair in pairs]),
        up=torch.cat([pair.up.float() * pair.scale for pair in pairs], dim=1),
        scale=1.0,
    )


def low_rank(parts: Parts, strength: float) -> LowRank | None:
    """The pair of an adapter that is nothing but one; None for any other."""
    if set(parts) - {UP, DOWN, "alpha"} or UP not in parts or DOWN not in parts:
        return None
    down = parts[DOWN].flatten(1)
    return LowRank(down=down, up=parts[UP].flatten(1), scale=strength * _scale(parts, down.shape[0]))


def adapted_weight(weight: Tensor, parts: Parts, strength: float, *, layer: str) -> Tensor:
    """The weight with an adapter at a strength; any shape of weight, computed and returned in float32.

    Raises ValueError, one line with the layer's name, for an adapter whose shape does not fit or lacks a part.
    """
    weight = _reshaped(weight.float(), parts)
    if "set_weight" in parts:
        weight = _fitting(parts["set_weight"].float(), weight, layer)
    for name in ("diff", "w_norm"):
        if name in parts:
            weight = weight + strength * _fitting(parts[name].float(), weight, layer)
    update = _update(parts, layer)
    if update is None:
        return weight
    update = _fitting(update, weight, layer)
    if "dora_scale" in parts:
        return weight + strength * (_dora(weight, update, parts["dora_scale"].float()) - weight)
    return weight + strength * update


def check_adapter(parts: Parts, weight: torch.Size | None, bias: torch.Size | None, *, layer: str) -> None:
    """ValueError, one line with the layer's name, for an adapter whose parts fit neither each other nor the layer.

    weight, bias: the shapes of what it is going to change, None where it has no such thing. Nothing is computed: the
    arithmetic runs on the meta device once.
    """
    _check_numbers(parts, layer)
    shapes = {name: part if name in NUMBERS else part.to("meta") for name, part in parts.items()}
    try:
        if weight is not None:
            adapted_weight(torch.empty(weight, device="meta"), shapes, 1.0, layer=layer)
        if bias is not None:
            adapted_bias(torch.empty(bias, device="meta"), shapes, 1.0, layer=layer)
    except (RuntimeError, IndexError, ZeroDivisionError) as error:
        found = ", ".join(f"{name} {tuple(part.shape)}" for name, part in parts.items())
        raise ValueError(
            f"{layer}: expected parts of an adapter that fit each other, found {found}; download the LoRA again"
        ) from error


def _check_numbers(parts: Parts, layer: str) -> None:
    """Parts that are read here and now: their types, finite factors, sizes that enlarge."""
    for name, part in parts.items():
        if not part.is_floating_point() and name != "reshape_weight":
            raise ValueError(f"{layer}: expected {name} in floats, found {part.dtype}; download the LoRA again")
    for name in ("alpha", "dora_scale"):
        if name in parts and not bool(parts[name].float().isfinite().all()):
            raise ValueError(f"{layer}: expected a finite {name}, found NaN or infinity; download the LoRA again")
    if "alpha" in parts and parts["alpha"].numel() != 1:
        raise ValueError(f"{layer}: expected one alpha, found {parts['alpha'].numel()}; download the LoRA again")
    sizes = parts.get("reshape_weight")
    if sizes is not None and (
        sizes.ndim != 1 or sizes.is_complex() or not all(0 < size <= LARGEST_SIZE for size in sizes.tolist())
    ):
        raise ValueError(
            f"{layer}: expected reshape_weight as a list of sizes, found {str(sizes.tolist())[:80]}; "
            "download the LoRA again"
        )


def adapted_bias(bias: Tensor, parts: Parts, strength: float, *, layer: str) -> Tensor:
    """The bias with an adapter, in float32."""
    bias = bias.float()
    for name in ("diff_b", "b_norm"):
        if name in parts:
            bias = bias + strength * _fitting(parts[name].float(), bias, layer)
    return bias


def changes_weight(parts: Parts) -> bool:
    return bool(set(parts) - {"diff_b", "b_norm", "alpha"})


def changes_bias(parts: Parts) -> bool:
    return bool({"diff_b", "b_norm"} & set(parts))


def _update(parts: Parts, layer: str) -> Tensor | None:
    """What strength 1 adds, without DoRA; None where the adapter has no such part."""
    if UP in parts or DOWN in parts:
        _require(parts, layer, UP, DOWN)
        down = parts[DOWN].float().flatten(1)
        return _scale(parts, down.shape[0]) * (parts[UP].float().flatten(1) @ down)
    if any(name.startswith("lokr") for name in parts):
        return _lokr(parts, layer)
    if any(name.startswith("hada") for name in parts):
        _require(parts, layer, "hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
        first = parts["hada_w1_a"].float() @ parts["hada_w1_b"].float()
        second = parts["hada_w2_a"].float() @ parts["hada_w2_b"].float()
        return _scale(parts, parts["hada_w1_b"].shape[0]) * (first * second)
    return None


def _lokr(parts: Parts, layer: str) -> Tensor:
    """Kronecker product; alpha counts only where a factor is itself a product."""
    rank = 0
    factors = []
    for name in ("lokr_w1", "lokr_w2"):
        if name in parts:
            factors.append(parts[name].float())
        else:
            _require(parts, layer, f"{name}_a", f"{name}_b")
            rank = parts[f"{name}_b"].shape[0]
            factors.append(parts[f"{name}_a"].float() @ parts[f"{name}_b"].float())
    first, second = factors
    product = torch.kron(first.reshape(*first.shape, *(1,) * (second.ndim - first.ndim)), second)
    return _scale(parts, rank) * product if rank else product


def _dora(weight: Tensor, update: Tensor, magnitude: Tensor) -> Tensor:
    """Norms by row come from the weight, norms by column from the sum (section 8.2)."""
    changed = weight + update
    by_row = magnitude.shape[0] == weight.shape[0]
    norm: Tensor = weight.flatten(1).norm(dim=1)[:, None] if by_row else changed.flatten(1).norm(dim=0)[None]
    norm = norm + torch.finfo(weight.dtype).eps
    scaled: Tensor = changed.flatten(1) * (magnitude.flatten(1) / norm)
    return scaled.view(changed.shape)


def _scale(parts: Parts, rank: int) -> float:
    return float(parts["alpha"]) / rank if "alpha" in parts else 1.0


def _reshaped(weight: Tensor, parts: Parts) -> Tensor:
    """Enlarged with zeros where the adapter asks for it."""
    if "reshape_weight" not in parts:
        return weight
    larger = weight.new_zeros([int(size) for size in parts["reshape_weight"].tolist()])
    larger[tuple(slice(size) for size in weight.shape)] = weight
    return larger


def _fitting(update: Tensor, weight: Tensor, layer: str) -> Tensor:
    if update.shape == weight.shape:
        return update
    if update.numel() != weight.numel() or update.shape[:1] != weight.shape[:1]:
        raise ValueError(
            f"{layer}: expected an update of shape {tuple(weight.shape)}, found {tuple(update.shape)}; "
            "the LoRA was made for another model"
        )
    return update.reshape(weight.shape)


def _require(parts: Parts, layer: str, *names: str) -> None:
    missing = [name for name in names if name not in parts]
    if missing:
        raise ValueError(
            f"{layer}: expected {', '.join(names)}, found no {', '.join(missing)}; download the LoRA again"
        )
