"""Tensors without storage that say they lie on a device: networks choose their ways by it, as they would there."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

META = torch.device("meta")
NOWHERE = 99  # a number that no device has: what networks remember by device is never one of our hollow tensors
DISTINCT = 2  # values where a network asks for the distinct ones: noised tokens and given ones
GETTERS = {
    Tensor.device.__get__: lambda device: device,
    Tensor.is_cuda.__get__: lambda device: device.type == "cuda",  # type: ignore[attr-defined]
    Tensor.is_cpu.__get__: lambda device: device.type == "cpu",  # type: ignore[attr-defined]
}
FACTORIES = {
    *(torch.empty, torch.zeros, torch.ones, torch.full, torch.arange, torch.linspace, torch.tensor),
    *(torch.eye, torch.rand, torch.randn, torch.as_tensor),
}


class Pretence(TorchFunctionMode):
    """Inside the block new tensors are made on the meta device and claim to be on `device`, which need not exist.

    What a network asks to be on the CPU stays there: constants that it remembers. A question about values is answered
    no: timesteps differ, for instance.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = torch.device(device.type, NOWHERE)

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in GETTERS:
            return GETTERS[func](self.device)  # type: ignore[no-untyped-call]
        if func is Tensor.__bool__:
            return False
        if func is torch.unique:
            values = torch.empty(DISTINCT, dtype=args[0].dtype, device=META)
            return values, torch.empty(args[0].shape, dtype=torch.int64, device=META)
        kwargs = {name: self._place(value) for name, value in (kwargs or {}).items()}
        if func in FACTORIES:
            kwargs.setdefault("device", META)
        return func(*map(self._place, args), **kwargs)

    def _place(self, value: Any) -> Any:
        return META if isinstance(value, torch.device) and value == self.device else value
