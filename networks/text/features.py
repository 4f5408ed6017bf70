"""Hidden states of all decoder layers → the features that the connectors start from (text.md section 5)."""

# B batch, T tokens, D hidden width, L hidden states, O features
from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..operations import Operations, torch_operations

# Each product walks through the whole interleaved weight (1.5 GB at full size) and copies its part (220 MB): seven
# states at a time are seven walks instead of 49, and no more than seven states are alive.
STATES_PER_PRODUCT = 7
PLAIN = (torch.float32, torch.float16, torch.bfloat16)
EPS = 1e-6


@dataclass(frozen=True, kw_only=True)
class ProjectionConfig:
    """audio_features None: version 1, one projection for both connectors; else version 2, one for each."""

    hidden_size: int
    num_states: int
    video_features: int
    audio_features: int | None = None

    @property
    def flat_size(self) -> int:
        return self.hidden_size * self.num_states


class SharedProjection(nn.Module):
    """Version 1 (LTX-2): every state shifted by its mean and divided by its range over all valid tokens and channels.

    State dict names are those after `text_embedding_projection.`.
    """

    def __init__(self, config: ProjectionConfig, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        self.config = config
        self.aggregate_embed = operations.Linear(config.flat_size, config.video_features, bias=False)

    def forward(self, states: Iterable[Tensor], mask: Tensor) -> tuple[Tensor, Tensor]:
        """Consume the states (B, T, D), one by one, with their mask (B, T), 0 on padding.

        Returns video and audio features (B, T, O), here the same tensor, 0 on padding, dtype of the states.
        """
        normed = _masked(states, mask, lambda x: normalise_by_range(x, mask))
        (features,) = project_states(normed, [self.aggregate_embed], self.config.num_states)
        return features, features


class SeparateProjection(nn.Module):
    """Version 2 (LTX-2.3, LTX-2.5): every token of every state divided by its root mean square.

    State dict names are those after `text_embedding_projection.`.
    """

    def __init__(self, config: ProjectionConfig, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        assert config.audio_features is not None
        self.config = config
        self.video_aggregate_embed = operations.Linear(config.flat_size, config.video_features)
        self.audio_aggregate_embed = operations.Linear(config.flat_size, config.audio_features)

    def forward(self, states: Iterable[Tensor], mask: Tensor) -> tuple[Tensor, Tensor]:
        """As SharedProjection.forward, but two tensors of their own widths, which equal the bias on padding."""
        normed = _masked(states, mask, lambda x: F.rms_norm(x.float(), x.shape[-1:], eps=EPS))
        linears = [self.video_aggregate_embed, self.audio_aggregate_embed]
        video, audio = project_states(normed, linears, self.config.num_states, hidden_size=self.config.hidden_size)
        return video, audio


def normalise_by_range(x: Tensor, mask: Tensor) -> Tensor:
    """8 (x - mean) / range in float32, both over the valid tokens of a row and all channels. x (B, T, D)."""
    x, padding = x.float(), mask[..., None] == 0
    count = mask.sum(dim=1)[:, None, None] * x.shape[-1]
    mean = x.masked_fill(padding, 0).sum(dim=(1, 2), keepdim=True) / (count + EPS)
    high = x.masked_fill(padding, -math.inf).amax(dim=(1, 2), keepdim=True)
    low = x.masked_fill(padding, math.inf).amin(dim=(1, 2), keepdim=True)
    return 8 * (x - mean) / (high - low + EPS)


def project_states(
    states: Iterator[Tensor], linears: Sequence[nn.Linear], num_states: int, *, hidden_size: int | None = None
) -> list[Tensor]:
    """For each linear: sum over l of states[l] · W[:, l::L]ᵀ + bias, as if all states were flattened (D L) before it.

    states: num_states tensors (B, T, D). The results have the dtype of the states.
    hidden_size: where given, the sum is scaled by sqrt(O / hidden_size) before the bias.
    Plain layers take the states a few at a time, and sum in float32; a host's own layers, whose weight may be
    quantised or patched when they are called, are called once with all states, which is said once.
    """
    own = next((linear for linear in linears if not _is_plain(linear)), None)
    if own is None:
        return _project_in_parts(states, linears, num_states, hidden_size)
    _say_whole(f"{type(own).__module__}.{type(own).__qualname__}")
    collected = list(states)
    assert len(collected) == num_states, f"{len(collected)} hidden states for a projection of {num_states}"
    flat = rearrange(collected, "l b t d -> b t (d l)")
    return [linear(flat * _factor(linear, hidden_size)) for linear in linears]


def _is_plain(linear: nn.Linear) -> bool:
    """Whether x · linear.weightᵀ + linear.bias is all that the layer does, and its weight one that can be sliced."""
    untouched = type(linear) is nn.Linear and "forward" not in vars(linear)
    return untouched and type(linear.weight) in (nn.Parameter, Tensor) and linear.weight.dtype in PLAIN


@cache  # once for each kind of layer
def _say_whole(kind: str) -> None:
    warnings.warn(
        f"text projection: {kind} is not torch.nn.Linear with plain weights; all hidden states are held at once for it",
        stacklevel=2,
    )


def _project_in_parts(
    states: Iterator[Tensor], linears: Sequence[nn.Linear], num_states: int, hidden_size: int | None
) -> list[Tensor]:
    sums: list[Tensor] = []
    first = 0
    while group := list(islice(states, STATES_PER_PRODUCT)):
        stop = first + len(group)
        flat = rearrange(group, "l b t d -> b t (d l)")
        products = [F.linear(flat, _columns(linear, num_states, first, stop).to(flat)).float() for linear in linears]
        sums = [total + product for total, product in zip(sums, products, strict=True)] if sums else products
        dtype, first = flat.dtype, stop
    assert first == num_states, f"{first} hidden states for a projection of {num_states}"
    return [_finish(total, linear, hidden_size).to(dtype) for total, linear in zip(sums, linears, strict=True)]


def _columns(linear: nn.Linear, num_states: int, first: int, stop: int) -> Tensor:
    by_state = rearrange(linear.weight, "o (d l) -> o d l", l=num_states)  # the state is the fast index
    return rearrange(by_state[:, :, first:stop], "o d l -> o (d l)")


def _finish(total: Tensor, linear: nn.Linear, hidden_size: int | None) -> Tensor:
    total = total * _factor(linear, hidden_size)
    return total if linear.bias is None else total + linear.bias.to(total)


def _factor(linear: nn.Linear, hidden_size: int | None) -> float:
    return 1.0 if hidden_size is None else math.sqrt(linear.out_features / hidden_size)


def _masked(states: Iterable[Tensor], mask: Tensor, normalise: Callable[[Tensor], Tensor]) -> Iterator[Tensor]:
    padding = mask[..., None] == 0
    for x in states:
        yield normalise(x).masked_fill(padding, 0).to(x.dtype)
