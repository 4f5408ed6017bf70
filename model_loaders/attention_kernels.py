"""Attention by other packages than torch (FlashAttention 2, 3 and 4, SageAttention): probed once, named in the log.

Only here are those packages named. A kernel is trusted on a device after one small trial came out as the plain formula
has it; it gets what it is made for (16 bits, no bias, long enough), and torch's kernels the rest (spec page memory,
section 7).
"""

# B batch, H heads, T query tokens, S key tokens, d head width
from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from ..networks.attention import AttentionBackend, torch_attention

AUTO, TORCH = "auto", "torch"
DTYPES = (torch.bfloat16, torch.float16)
TRIAL = 1, 2, 256, 128  # B H T d
log = logging.getLogger(__name__)

Call = Callable[[Any, Tensor, Tensor, Tensor, float], Any]  # (package, q, k, v in B H T d, scale) → B H T d


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """capabilities: first and last of a CUDA device. keys: fewer of them gain nothing. error: of the trial, relative.

    lossy: quantises what it multiplies; taken only when it is asked for by name.
    """

    package: str
    call: Call
    capabilities: tuple[int, int]
    keys: int = 512
    error: float = 0.02
    lossy: bool = False


def _merged(name: str) -> Call:
    """Of FlashAttention, whose tensors are B T H d; later versions also return the logarithms of the sums."""

    def call(package: Any, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        q, k, v = (rearrange(x, "B H T d -> B T H d") for x in (q, k, v))
        found = getattr(package, name)(q, k, v, softmax_scale=scale)
        out: Tensor = found[0] if isinstance(found, tuple) else found
        return rearrange(out, "B T H d -> B H T d")

    return call


def _sage(package: Any, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Any:
    return package.sageattn(q, k, v, tensor_layout="HND", sm_scale=scale)


def _sage3(package: Any, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Any:
    return package.sageattn3_blackwell(q * (scale * q.shape[-1] ** 0.5), k, v)  # it takes no scale


KERNELS: Mapping[str, Kernel] = {  # in the order in which they are tried
    "flash3": Kernel(package="flash_attn_interface", call=_merged("flash_attn_func"), capabilities=(9, 9)),
    "flash4": Kernel(package="flash_attn.cute", call=_merged("flash_attn_func"), capabilities=(9, 11)),
    "flash2": Kernel(package="flash_attn", call=_merged("flash_attn_func"), capabilities=(8, 12)),
    "sage": Kernel(package="sageattention", call=_sage, capabilities=(8, 12), keys=1024, error=0.1, lossy=True),
    "sage3": Kernel(package="sageattn3", call=_sage3, capabilities=(10, 12), keys=1024, error=0.2, lossy=True),
}
BY_ITSELF = {9: ("flash3", "flash4"), 10: ("flash4",)}  # by capability; elsewhere torch's own kernels are as good


def names() -> tuple[str, ...]:
    """What may be asked for."""
    return AUTO, TORCH, *KERNELS


@cache
def attention_kernel(wanted: str, device: torch.device) -> AttentionBackend:
    """The back end for a device, told in the log once. Raises ValueError for a name that is unknown or cannot run."""
    if wanted not in names():
        raise ValueError(f"attention: expected one of {', '.join(names())}, found {wanted!r}")
    if wanted not in (AUTO, TORCH):
        problem = _problem(KERNELS[wanted], device)
        if problem is not None:
            raise ValueError(f"attention {wanted!r}: cannot be used here ({problem}); choose another, or {AUTO!r}")
        return _told(wanted, _backend(wanted), device)
    for name in BY_ITSELF.get(_capability(device), ()) if wanted == AUTO else ():
        problem = _problem(KERNELS[name], device)
        if problem is None:
            return _told(name, _backend(name), device)
        log.info("attention: %s is not used on %s: %s", name, device, problem)
    return _told(TORCH, torch_attention, device)


def _told(name: str, backend: AttentionBackend, device: torch.device) -> AttentionBackend:
    log.info("attention on %s: %s", device, name)
    return backend


def _backend(name: str) -> AttentionBackend:
    kernel, package = KERNELS[name], import_module(KERNELS[name].package)

    def backend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float | None) -> Tensor:
        wide = k.shape[-2] >= kernel.keys and q.shape[-1] == v.shape[-1] <= 256
        learns = torch.is_grad_enabled() and q.requires_grad
        if bias is not None or not wide or learns or any(x.dtype not in DTYPES for x in (q, k, v)):
            return torch_attention(q, k, v, bias, scale)
        found: Tensor = kernel.call(package, q, k, v, q.shape[-1] ** -0.5 if scale is None else scale)
        return found

    backend.__name__ = name
    return backend


def _problem(kernel: Kernel, device: torch.device) -> str | None:
    """Why a kernel cannot be used on a device; None: it can."""
    first, last = kernel.capabilities
    if not first <= _capability(device) <= last:
        return f"made for CUDA devices of capability {first} to {last}"
    try:
        package = import_module(kernel.package)
    except Exception as error:  # a package built for another torch fails in many ways
        return f"{kernel.package}: {_line(error)}"
    try:
        wrong_by = _trial(kernel, package, device)
    except Exception as failure:
        return f"a trial failed: {_line(failure)}"
    return None if wrong_by <= kernel.error else f"a trial was wrong by {wrong_by:.2g}, allowed are {kernel.error:g}"


def _trial(kernel: Kernel, package: Any, device: torch.device) -> float:
    """Relative RMS error against the plain formula in float32."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(TRIAL, generator=generator).to(device, torch.bfloat16) for _ in range(3))
    scale = TRIAL[-1] ** -0.5
    scores = (q.float() @ k.float().transpose(-2, -1)) * scale
    expected = scores.softmax(dim=-1) @ v.float()
    error = (kernel.call(package, q, k, v, scale).float() - expected).square().mean().sqrt()
    return float(error / expected.square().mean().sqrt())


def _capability(device: torch.device) -> int:
    return torch.cuda.get_device_capability(device)[0] if device.type == "cuda" else 0


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
