"""How much memory a computation holds, followed allocation by allocation, and how many operations it takes."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

# (operation, arguments, result) → bytes that its kernel takes for itself while it runs
Workspace = Callable[[Any, "tuple[Any, ...]", Any], int]


class Allocations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what the operations inside the block allocate: bytes that live, their peak, floating-point operations.

    Of tensors on the meta device only: real ones are constants that outlive the run. existing: tensors that were there
    before and do not count. workspace: what kernels take beside their results. on_cpu: the meta device stands for the
    CPU. A multiply-add counts as two operations.
    """

    def __init__(
        self, existing: Iterable[Tensor] = (), workspace: Workspace | None = None, *, on_cpu: bool = False
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.level = self.peak = self.operations = 0
        self._workspace, self._on_cpu = workspace, on_cpu
        self._sizes = {_key(tensor): 0 for tensor in existing}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = _shortcut(func, args)
        if result is None:
            result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, Tensor) and tensor.is_meta:
                self._met(tensor, free=self._on_cpu and _same_on_cpu(func, args, tensor))
        self.hold(0 if self._workspace is None else self._workspace(func, args, result))
        counted = flop_registry.get(getattr(func, "overloadpacket", None))
        if counted is not None:
            self.operations += int(counted(*args, **(kwargs or {}), out_val=result))
        return result

    def hold(self, size: int) -> None:
        """Something of `size` bytes lives for a moment beside everything else."""
        self.peak = max(self.peak, self.level + size)

    def _met(self, tensor: Tensor, *, free: bool) -> None:
        storage, key = tensor.untyped_storage(), _key(tensor)
        if key not in self._sizes:
            self._sizes[key] = 0 if free else storage.nbytes()
            self.level += self._sizes[key]
            weakref.finalize(storage, self._freed, key)

    def _freed(self, key: int) -> None:
        self.level -= self._sizes.pop(key)


def _key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _same_on_cpu(func: Any, args: tuple[Any, ...], result: Tensor) -> bool:
    """A constant that is moved from the CPU to the CPU stays where it is."""
    source = args[0] if args else None
    moved = func.overloadpacket is torch.ops.aten._to_copy
    return moved and isinstance(source, Tensor) and not source.is_meta and source.dtype == result.dtype


def _shortcut(func: Any, args: tuple[Any, ...]) -> Tensor | None:
    """The result of the most frequent operations on hollow tensors, for which torch takes ten times as long."""
    if not args or not isinstance(args[0], Tensor) or not args[0].is_meta:
        return None
    first: Tensor = args[0]
    name = func.overloadpacket.__name__
    if name.endswith("_") and name in IN_PLACE:
        return first
    if name not in POINTWISE:
        return None
    others = [value for value in args[1:] if isinstance(value, Tensor)]
    if not others:
        return torch.empty_like(first)
    shape = torch.broadcast_shapes(first.shape, *(other.shape for other in others))  # type: ignore[no-untyped-call]
    dtype = functools.reduce(torch.promote_types, (other.dtype for other in others if other.ndim), first.dtype)
    if shape == first.shape and dtype == first.dtype:
        return torch.empty_like(first)
    return torch.empty(shape, dtype=dtype, device=first.device)


POINTWISE = {
    "mul",
    "add",
    "sub",
    "div",
    "silu",
    "gelu",
    "sigmoid",
    "neg",
    "tanh",
    "rsqrt",
    "addcmul",
    "sqrt",
    "leaky_relu",
}
IN_PLACE = {"copy_", "fill_", "zero_", *(f"{name}_" for name in POINTWISE)}
