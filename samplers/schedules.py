"""Sigma schedules: float32, strictly decreasing, ending in 0; K steps are K + 1 values (spec sampling.md section 5)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .incomplete_beta import beta_quantile

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
BETA_SHIFT = 2.37  # of the table that the beta schedule picks from
BETA_TABLE = 10_000
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
    _check_steps(steps)
    if not 0.0 <= terminal < 1.0:
        raise ValueError(f"terminal: expected a number from 0 to below 1, found {terminal}")
    if steps == 1:  # its only value is 1, and the stretch would divide zero by zero
        return torch.tensor([1.0, 0.0])
    power = math.exp(min(shift_exponent(tokens, max_shift=max_shift, base_shift=base_shift), MAX_EXPONENT))
    odds = 1.0 / torch.linspace(1.0, 0.0, steps + 1, dtype=torch.float32)[:-1] - 1.0
    shifted = power / (power + odds)
    if stretch:
        distance = 1.0 - shifted  # as published, in float32 …
        if float(distance[-1]) < RESOLVED_DISTANCE:  # … which at 4K sizes has rounded it away, and then gives NaN
            distance = odds.double() / (power + odds.double())
        shifted = (1.0 - distance / (distance[-1] / (1.0 - terminal))).float()
    return torch.cat([shifted, torch.zeros(1)])


def shift_exponent(tokens: int, *, max_shift: float = 2.05, base_shift: float = 0.95) -> float:
    """How far the schedule for this many video tokens is shifted to high noise: what is added to a sigma's logit."""
    slope = (max_shift - base_shift) / (MAX_TOKENS - BASE_TOKENS)
    return tokens * slope + (base_shift - BASE_TOKENS * slope)


def linear_quadratic_sigmas(steps: int, *, threshold: float = 0.025, linear_steps: int | None = None) -> Tensor:
    """Linear down to 1 - threshold, then quadratic to 0 (spec sampling.md 5.2). Returns float32 (steps + 1,).

    linear_steps: 1 to `steps`, default half of them. Raises ValueError for illegal arguments.
    """
    _check_steps(steps)
    if not 0.0 < threshold < 1.0:
        raise ValueError(f"threshold: expected a number between 0 and 1, found {threshold}")
    if steps == 1:
        return torch.tensor([1.0, 0.0])
    linear = steps // 2 if linear_steps is None else linear_steps
    if not 1 <= linear <= steps:
        raise ValueError(f"linear_steps: expected 1 to {steps}, found {linear}")
    removed = [i * threshold / linear for i in range(linear)]
    if linear < steps:
        rest, quadratic_steps = linear - threshold * steps, steps - linear
        square = rest / (linear * quadratic_steps**2)
        slope, constant = threshold / linear - 2 * rest / quadratic_steps**2, square * linear**2
        removed += [square * i**2 + slope * i + constant for i in range(linear, steps)]
    return 1.0 - torch.tensor([*removed, 1.0], dtype=torch.float32)


def beta_sigmas(steps: int, *, alpha: float = 0.6, beta: float = 0.6) -> Tensor:
    """Quantiles of Beta(alpha, beta) on a shifted table (spec sampling.md 5.3).

    Returns float32 of steps + 1 values, or fewer where several quantiles fall on one entry of the table.
    Raises ValueError for illegal arguments.
    """
    _check_steps(steps)
    if not (alpha > 0 and beta > 0):
        raise ValueError(f"alpha, beta: expected positive numbers, found {alpha} and {beta}")
    quantiles = (beta_quantile(1 - i / steps, alpha, beta) for i in range(steps))
    indices = dict.fromkeys(round(quantile * (BETA_TABLE - 1)) for quantile in quantiles)
    power = math.exp(BETA_SHIFT)
    return torch.tensor([power / (power + (BETA_TABLE / (index + 1) - 1)) for index in indices] + [0.0])


def manual_sigmas(values: Sequence[float] | str) -> Tensor:
    """A list of values, or its text with commas, semicolons or spaces between them; ValueError as `check_sigmas`."""
    if isinstance(values, str):
        words = values.replace(",", " ").replace(";", " ").split()
        try:
            values = [float(word) for word in words]
        except ValueError as error:
            raise ValueError(f"sigmas: expected numbers with commas between them, found {values!r}") from error
    return check_sigmas(torch.tensor(values, dtype=torch.float32))


def step_range(sigmas: Tensor, first: int, last: int | None = None) -> Tensor:
    """The steps from index `first` up to, and without, `last` (None: to the end): last - first + 1 values."""
    steps = len(sigmas) - 1
    end = steps if last is None else last
    if not 0 <= first < end <= steps:
        raise ValueError(f"steps: expected 0 <= first < last <= {steps}, found {first} and {end}")
    return sigmas[first : end + 1]


def sigmas_from(sigmas: Tensor, start: float) -> Tensor:
    """The schedule of a refinement: `start`, then the values of `sigmas` below it. ValueError if there are none."""
    first = torch.tensor([start], dtype=torch.float32)
    below = check_sigmas(sigmas)
    below = below[below < first]
    if not 0 < start <= 1 or len(below) == 0:
        raise ValueError(f"start sigma: expected a number above {float(sigmas[-1]):g} and up to 1, found {start}")
    return torch.cat([first, below])


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


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise ValueError(f"steps: expected at least 1, found {steps}")
