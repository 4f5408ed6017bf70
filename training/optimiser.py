"""Muon for matrices and convolutions, AdamW for the rest (spec page embedded_model, sections 4.3 and 7.1).

Its whole state is a flat {name: tensor}, so that a safetensors file can hold it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

ROWS = 128  # at most, of a block that is orthogonalised at once: cost grows with the cube
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5
MOMENTUM = 0.95
EPS = 1e-8
LOOKED_UP = ("embed_tokens", "adaln_single", "patchify_proj", "proj_out", "aggregate_embed")  # in and out of a stack


@dataclass(frozen=True, kw_only=True)
class Rates:
    """muon, adam: learning rates at full height. decay: of Muon's matrices, as a share of its rate."""

    muon: float = 0.02
    adam: float = 1e-3
    decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float = 1.0


class Optimiser:
    """Steps all parameters of named networks that want gradients."""

    def __init__(self, networks: Mapping[str, nn.Module], rates: Rates) -> None:
        self.rates = rates
        self.parameters = {
            f"{prefix}/{name}": parameter
            for prefix, network in networks.items()
            for name, parameter in network.named_parameters()
            if parameter.requires_grad
        }
        self.muon = {name: p for name, p in self.parameters.items() if is_matrix(name, p)}
        self.adam = {name: p for name, p in self.parameters.items() if name not in self.muon}
        self.state = {f"momentum {name}": torch.zeros_like(p) for name, p in self.muon.items()}
        for name, parameter in self.adam.items():
            self.state |= {f"first {name}": torch.zeros_like(parameter), f"second {name}": torch.zeros_like(parameter)}
        self.state["steps"] = torch.zeros((), dtype=torch.int64)

    def step(self, factor: float) -> float:
        """One step with all rates times `factor`; returns the gradient norm. A norm that is not finite: no step."""
        gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
        norm = float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients])))
        if norm == norm and norm != float("inf"):
            for gradient in gradients:
                gradient.mul_(min(1.0, self.rates.clip / (norm + 1e-12)))
            with torch.no_grad():
                self.state["steps"] += 1
                self._muon(factor * self.rates.muon)
                self._adam(factor * self.rates.adam)
        for parameter in self.parameters.values():
            parameter.grad = None
        return norm

    def _muon(self, rate: float) -> None:
        updates: list[tuple[Tensor, Tensor]] = []
        for name, parameter in self.muon.items():
            if parameter.grad is None:
                continue
            momentum = self.state[f"momentum {name}"].lerp_(parameter.grad, 1 - MOMENTUM)
            updates.append((parameter, parameter.grad.lerp(momentum, MOMENTUM).flatten(1)))
        updates.sort(key=lambda item: tuple(item[1].shape))
        for _, group in groupby(updates, key=lambda item: item[1].shape):  # equal shapes in one batched product
            same = list(group)
            turned = orthogonalise(torch.stack([matrix for _, matrix in same]))
            for (weight, _), update in zip(same, turned, strict=True):
                height = max(1.0, update.shape[0] / update.shape[1]) ** 0.5
                weight.mul_(1 - rate * self.rates.decay)
                weight.add_(update.view_as(weight), alpha=-rate * height)

    def _adam(self, rate: float) -> None:
        (first_decay, second_decay), steps = self.rates.betas, int(self.state["steps"])
        first_bias, second_bias = 1 - first_decay**steps, 1 - second_decay**steps
        for name, parameter in self.adam.items():
            if parameter.grad is None:
                continue
            first = self.state[f"first {name}"].lerp_(parameter.grad, 1 - first_decay)
            second = self.state[f"second {name}"].lerp_(parameter.grad.square(), 1 - second_decay)
            parameter.addcdiv_(first, (second / second_bias).sqrt_().add_(EPS), value=-rate / first_bias)


def is_matrix(name: str, parameter: Tensor) -> bool:
    """Weights of linears and convolutions inside a stack; no tables, embeddings, registers, first and last layers."""
    return parameter.ndim >= 2 and name.endswith(".weight") and not any(part in name for part in LOOKED_UP)


def orthogonalise(matrices: Tensor) -> Tensor:
    """Nearest half-orthogonal matrices of (N, rows, columns), in blocks of rows, by Newton-Schulz.

    The polynomial is built on the Gram matrix, which is small where rows are long: one product with the long side,
    a few small ones, one product back.
    """
    count, rows, _ = matrices.shape
    height = -(-rows // -(-rows // ROWS))  # of blocks as equal as can be
    blocks = rearrange(F.pad(matrices, (0, 0, 0, -rows % height)), "n (k r) c -> (n k) r c", r=height)
    blocks = blocks / (torch.linalg.matrix_norm(blocks, keepdim=True) + 1e-7)
    gram = blocks @ blocks.mT
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    product = eye
    a, b, c = NEWTON_SCHULZ
    for _ in range(NEWTON_SCHULZ_STEPS):
        factor = a * eye + b * gram + c * (gram @ gram)
        product = factor @ product
        gram = factor @ gram @ factor
    turned: Tensor = rearrange(product @ blocks, "(n k) r c -> n (k r) c", n=count)[:, :rows]
    return turned


def warm_constant_linear(progress: float, step: int, *, warm: int = 50, hold: float = 0.6, last: float = 0.03) -> float:
    """The share of the rates at `progress` (0 to 1) of a stage: warm-up steps, constant, then linear to `last`."""
    fall = 1.0 if progress <= hold else 1 - (1 - last) * min(1.0, (progress - hold) / (1 - hold))
    return min(1.0, (step + 1) / warm) * fall
