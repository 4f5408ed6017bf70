"""Several tensors in the place of one: how a LATENT carries video and audio together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class NestedTensor:
    """Members of different shapes that travel as one; same interface as ComfyUI's (comfyui_host.md 2.1).

    Shape, size, device and dtype are those of the first member, `ndim` the largest. For audio-video latents member 0 is
    the video (B C F H W) and member 1 the audio. Nodes use the constructor and `unbind()` only; the rest serves others.
    """

    is_nested = True

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = list(tensors)

    def unbind(self) -> list[Tensor]:
        return self.tensors

    def _each(self, change: Callable[[Tensor], Any]) -> NestedTensor:
        return NestedTensor([change(tensor) for tensor in self.tensors])

    def _with(self, other: Any, combine: Callable[[Any, Any], Tensor]) -> NestedTensor:
        others = other.tensors if isinstance(other, NestedTensor) else [other] * len(self.tensors)
        return NestedTensor([combine(mine, its) for mine, its in zip(self.tensors, others, strict=True)])

    def __add__(self, other: Any) -> NestedTensor:
        return self._with(other, lambda mine, its: mine + its)

    def __sub__(self, other: Any) -> NestedTensor:
        return self._with(other, lambda mine, its: mine - its)

    def __mul__(self, other: Any) -> NestedTensor:
        return self._with(other, lambda mine, its: mine * its)

    def __truediv__(self, other: Any) -> NestedTensor:
        return self._with(other, lambda mine, its: mine / its)

    def __getitem__(self, index: Any) -> NestedTensor:
        return self._each(lambda tensor: tensor[index])

    def to(self, *args: Any, **kwargs: Any) -> NestedTensor:
        return self._each(lambda tensor: tensor.to(*args, **kwargs))

    def float(self) -> NestedTensor:
        return self._each(lambda tensor: tensor.float())

    def chunk(self, *args: Any, **kwargs: Any) -> NestedTensor:
        return self._each(lambda tensor: tensor.chunk(*args, **kwargs))

    def size(self) -> torch.Size:
        return self.tensors[0].size()

    @property
    def shape(self) -> torch.Size:
        return self.tensors[0].shape

    @property
    def ndim(self) -> int:
        return max(tensor.ndim for tensor in self.tensors)

    @property
    def device(self) -> torch.device:
        return self.tensors[0].device

    @property
    def dtype(self) -> torch.dtype:
        return self.tensors[0].dtype

    @property
    def layout(self) -> torch.layout:
        return self.tensors[0].layout
