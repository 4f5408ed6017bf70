"""A network is called on tensors without storage, and every allocation is followed: what it needs, without doing it.

So the predictions follow the code, on every device and for every size, with no constants but those of `kernels`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..networks.attention import attention_backend
from .allocations import Allocations
from .kernels import rehearsed_attention, workspace
from .pretence import META, Pretence

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class Need:
    """Bytes at the peak beside weights and inputs, and floating-point operations (a multiply-add counts as two)."""

    bytes: int
    operations: int = 0


def hollow(build: Callable[[], Network], dtype: torch.dtype) -> Network:
    """A network without storage whose floating parameters have a dtype."""
    with META:
        network = build()
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, nn.Parameter(torch.empty(parameter.shape, dtype=dtype, device=META), False))
    return network.eval()


def rehearsed(
    run: Callable[[], object],
    existing: Sequence[nn.Module | Tensor],
    device: torch.device,
    *,
    threads: int | None = None,
) -> Need:
    """What `run` needs on `device`; existing: its networks and inputs, which do not count.

    The results of `run` count. threads: of a CPU; None: as many as torch uses.
    """
    tensors = [tensor for part in existing for tensor in _tensors(part)]
    allocations = Allocations(tensors, partial(workspace, device), on_cpu=device.type == "cpu")
    backend = rehearsed_attention(allocations, device, threads or torch.get_num_threads())
    with torch.inference_mode(False), torch.no_grad(), Pretence(device), attention_backend(backend), allocations:
        run()
    return Need(bytes=allocations.peak, operations=allocations.operations)


def _tensors(part: nn.Module | Tensor) -> list[Tensor]:
    return [part] if isinstance(part, Tensor) else [*part.parameters(), *part.buffers()]
