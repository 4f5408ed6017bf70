"""Seconds, peak bytes, floating-point operations and errors: the same code for all peers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from openltx.networks.attention import attention_backend

Run = Callable[[], Sequence[Tensor]]
MATMUL_SIZES = {"cpu": (2048, 4096), "cuda": (8192, 16384)}


def seconds(run: Run, device: str) -> float:
    """Wall-clock seconds of one call."""
    _wait(device)
    start = time.perf_counter()
    run()
    _wait(device)
    return time.perf_counter() - start


def peak_bytes(run: Run, device: str) -> tuple[int, Sequence[Tensor]]:
    """The most bytes that one call had allocated at a time beyond what was allocated before it; and its outputs.

    Outputs count, inputs and weights do not.

    CUDA: of the caching allocator. CPU: from the profiler's trace of the same allocator that serves all tensors and
    the workspaces that kernels take from it; scratch memory that oneDNN takes for itself is seen by nobody.
    """
    if device == "cuda":
        _wait(device)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        outputs = run()
        _wait(device)
        return torch.cuda.max_memory_allocated() - before, outputs
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True, acc_events=True
    ) as profile:
        outputs = run()
    assert profile.profiler is not None
    assert profile.profiler.kineto_results is not None
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    level = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        level += event.nbytes()
        peak = max(peak, level)
    return peak, outputs


def floating_point_operations(run: Run) -> int:
    """Of matrix products, convolutions and attention, a multiply-add counted as two."""
    counter = FlopCounterMode(
        display=False, custom_mapping={torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}
    )
    with counter, attention_backend(_counted):  # torch knows the operations of its own kernel only
        run()
    return int(counter.get_total_flops())


def _counted(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float | None) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)


def _attention(q: Sequence[int], k: Sequence[int], v: Sequence[int], *_: object, **__: object) -> int:
    batch, heads, tokens, width = q
    return 2 * batch * heads * tokens * k[2] * (width + v[3])


def matmul_rate(dtype: torch.dtype, device: str) -> float:
    """The best FLOP/s of a few large square products: the ceiling that shares refer to."""
    best = 0.0
    for size in MATMUL_SIZES[device]:
        a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        times = [seconds(partial(_product, a, b), device) for _ in range(4)]
        best = max(best, 2 * size**3 / min(times[1:]))
    return best


def _product(a: Tensor, b: Tensor) -> list[Tensor]:
    return [a @ b]


def relative_rms(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The worst, over the outputs, of rms(found - expected) / rms(expected); infinite where shapes differ."""
    if [tensor.shape for tensor in found] != [tensor.shape for tensor in expected]:
        return float("inf")
    return max(
        float((a.double() - b.double()).square().mean().sqrt() / b.double().square().mean().sqrt())
        for a, b in zip(found, expected, strict=True)
    )


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
