"""ComfyUI's schedulers by name for an LTX-2 model: their values, worked out when a workflow is adopted.

Source: comfyui_host.md 3.1 (flow model, shift) and sampling.md 9.4; ComfyUI's public sampler module.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..samplers.schedules import beta_sigmas, linear_quadratic_sigmas

SHIFT = 2.37
ENTRIES = 10_000  # of the table that its schedulers pick from


def named_sigmas_of(name: str, steps: int, denoise: float = 1.0, shift: float = SHIFT) -> list[float] | None:
    """Falling values, the last one 0; None for a scheduler that is not known here, or no steps at all."""
    if steps < 1 or not 0 < denoise <= 1 or name not in SCHEDULERS:
        return None
    if denoise > 0.9999:
        return SCHEDULERS[name](steps, shift)
    return SCHEDULERS[name](int(steps / denoise), shift)[-(steps + 1) :]


def _at(time: Tensor, shift: float) -> Tensor:
    factor = torch.exp(torch.tensor(shift, dtype=torch.float64)).float()
    return factor / (factor + (1 / time - 1))


def _table(shift: float) -> Tensor:
    return _at(torch.arange(1, ENTRIES + 1) / ENTRIES, shift)


def _simple(steps: int, shift: float) -> list[float]:
    table, stride = _table(shift), ENTRIES / steps
    return [*(float(table[-(1 + int(index * stride))]) for index in range(steps)), 0.0]


def _normal(steps: int, shift: float) -> list[float]:
    table = _table(shift)
    times = torch.linspace(float(table[-1]), float(table[0]), steps)
    return [*_at(times, shift).tolist(), 0.0]


def _sgm_uniform(steps: int, shift: float) -> list[float]:
    table = _table(shift)
    times = torch.linspace(float(table[-1]), float(table[0]), steps + 1)[:-1]
    return [*_at(times, shift).tolist(), 0.0]


def _ddim_uniform(steps: int, shift: float) -> list[float]:
    table, stride = _table(shift), max(ENTRIES // steps, 1)
    return [*reversed(table[1::stride].tolist()), 0.0]


def _beta(steps: int, shift: float) -> list[float]:
    return [float(value) for value in beta_sigmas(steps)]


def _linear_quadratic(steps: int, shift: float) -> list[float]:
    return [float(value) for value in linear_quadratic_sigmas(steps)]


SCHEDULERS = {
    "simple": _simple,
    "normal": _normal,
    "sgm_uniform": _sgm_uniform,
    "ddim_uniform": _ddim_uniform,
    "beta": _beta,
    "linear_quadratic": _linear_quadratic,
}
