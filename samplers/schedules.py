"""Sigma schedules: float32, strictly decreasing, ending in 0; K steps are K + 1 values (spec sampling.md section 5)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

DISTILLED_SIGMAS: dict[str, tuple[float, ...]] = {
    "stage 1": (1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875, 0.0),
    "stage 2": (0.909375, 0.725, 0.421875, 0.0),
    "stage 2, several devices": (0.625, 0.4, 0.0),
    "HDR refinement": (0.909375, 0.725, 0.0),
    "temporal rounds": (0.975, 0.909375, 0.725, 0.421875, 0.0),
}
DEFAULT_TOKENS = 4096  # the official recipes shift as for this count, whatever the size
BASE_TOKENS, MAX_TOKENS = 1024, 4096  # where base_shift and max_shift are reached
MAX_EXPONENT = 80.0  # exp of it still fits float32
RESOLVED_DISTANCE = 1e-3  # below it, float32 holds fewer than four digits of 1 - sigma


def ltx2_sigmas(
    steps: int,
    *,
    tokens: int = DEFAULT_TOKENS,
    max_shift: float = 2.05,
    base_shift: float = 0.95,
    stretch: bool = True,
    terminal: float = 0.1,
) -> Tensor:
    """The token-shifted schedule of LTX-2 (spec sampling.md 5.1).

    steps >= 1; tokens: video tokens of the latent, F * H * W; terminal in [0, 1): last value before 0 when stretched.
    Returns float32 (steps + 1,). Raises ValueError for illegal arguments.
    """
    if steps < 1:
        raise ValueError(f"steps: expected at least 1, found {steps}")
    if not 0.0 <= terminal < 1.0:
        raise ValueError(f"terminal: expected a number from 0 to below 1, found {terminal}")
    if steps == 1:  # its only value is 1, and the stretch would divide zero by zero
        return torch.tensor([1.0, 0.0])
    slope = (max_shift - base_shift) / (MAX_TOKENS - BASE_TOKENS)
    power = math.exp(min(tokens * slope + (base_shift - BASE_TOKENS * slope), MAX_EXPONENT))
    odds = 1.0 / torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float32)[:-1] - 1.0
    shifted = power / (power + odds)
    if stretch:
        distance = 1.0 - shifted  # as published, in float32 …
        if float(distance[-1]) < RESOLVED_DISTANCE:  # … which at 4K sizes has rounded it away, and then gives NaN
            distance = odds.double() / (power + odds.double())
        shifted = (1.0 - distance / (distance[-1] / (1.0 - terminal))).float()
    return torch.cat([shifted, torch.zeros(1)])


def distilled_sigmas(table: str) -> Tensor:
    """A fixed table by its name in DISTILLED_SIGMAS, float32 (spec sampling.md 5.4)."""
    if table not in DISTILLED_SIGMAS:
        raise ValueError(f"table: expected one of {', '.join(map(repr, DISTILLED_SIGMAS))}, found {table!r}")
    return torch.tensor(DISTILLED_SIGMAS[table], dtype=torch.float32)


def check_sigmas(sigmas: Tensor) -> Tensor:
    """`sigmas` as float32 on the CPU; ValueError unless they fall strictly from at most 1 to at least 0."""
    values = sigmas.detach().to("cpu", torch.float32)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"sigmas: expected a list of at least two values, found shape {tuple(values.shape)}")
    if not bool((values[1:] < values[:-1]).all()):
        raise ValueError(f"sigmas: expected strictly falling values, found {values.tolist()}")
    if values[0] > 1 or values[-1] < 0:
        raise ValueError(f"sigmas: expected values from 1 to 0, found {values[0]:g} to {values[-1]:g}")
    return values
