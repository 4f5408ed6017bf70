"""Judges one output tensor by the tolerance rules of a golden case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`ratio` is the worst error divided by what is allowed there; at most 1 passes."""

    output: str
    ratio: float
    detail: str

    @property
    def passed(self) -> bool:
        return self.ratio <= 1.0


def rule_for(name: str, tolerance: Mapping[str, Mapping[str, float]], rtol: float, atol: float) -> Mapping[str, float]:
    """The first glob of `tolerance` that matches, with or without `@out/`, else the case's own rtol and atol."""
    for pattern, rule in tolerance.items():
        if fnmatchcase(name, pattern) or fnmatchcase(f"@out/{name}", pattern):
            return rule
    return {"rtol": rtol, "atol": atol}


def judge(name: str, got: Tensor | None, want: Tensor, rule: Mapping[str, float]) -> Verdict:
    """Compare `got` with `want`; a missing output, another shape, or a NaN on one side only fails."""
    if got is None:
        return Verdict(output=name, ratio=float("inf"), detail="not computed")
    if tuple(got.shape) != tuple(want.shape):
        detail = f"shape {tuple(got.shape)} instead of {tuple(want.shape)}"
        return Verdict(output=name, ratio=float("inf"), detail=detail)
    unknown = rule.keys() - {"rtol", "atol", "atol_of_max", "mean_abs", "code_flips"}
    if unknown:
        return Verdict(output=name, ratio=float("inf"), detail=f"unknown tolerance rule {sorted(unknown)}")
    if want.numel() == 0:
        return Verdict(output=name, ratio=0.0, detail="empty")
    got, want = got.detach().to("cpu", torch.float64), want.to(torch.float64)
    if "code_flips" in rule:
        return _judge_codes(name, got, want, rule["code_flips"])
    error = _error(got, want)
    if "mean_abs" in rule:
        mean = error.mean().item()
        return Verdict(output=name, ratio=_ratio(mean, rule["mean_abs"]), detail=f"mean error {mean:.3g}")
    allowed = rule.get("atol", 0.0) + rule.get("atol_of_max", 0.0) * want.abs().nan_to_num().max()
    allowed = allowed + rule.get("rtol", 0.0) * want.abs().nan_to_num()
    ratios = torch.where(error == 0, 0.0, error / allowed)
    return Verdict(output=name, ratio=ratios.max().item(), detail=f"error {error.max().item():.3g}")


def relative_rms(name: str, got: Tensor | None, want: Tensor, bound: float) -> Verdict:
    """rms(got - want) / rms(want) against `bound`: how runs in a lower precision are judged."""
    if got is None or tuple(got.shape) != tuple(want.shape):
        return judge(name, got, want, {})
    got, want = got.detach().to("cpu", torch.float64), want.to(torch.float64)
    error = _error(got, want).square().mean().sqrt().item()
    relative = error / max(want.square().mean().sqrt().item(), 1e-30)
    return Verdict(output=name, ratio=_ratio(relative, bound), detail=f"relative rms error {relative:.3g}")


def _judge_codes(name: str, got: Tensor, want: Tensor, share: float) -> Verdict:
    difference = (got - want).abs()
    flipped = (difference != 0).double().mean().item()
    far = bool((difference > 1).any())
    detail = f"{flipped:.3g} of the codes differ" + (", some by more than one code" if far else "")
    return Verdict(output=name, ratio=float("inf") if far else _ratio(flipped, share), detail=detail)


def _error(got: Tensor, want: Tensor) -> Tensor:
    """|got - want|, 0 where both are the same infinity or both NaN, infinite where only one is."""
    same = (got == want) | (got.isnan() & want.isnan())
    error = (got - want).abs()
    return torch.where(same, torch.zeros_like(error), error.nan_to_num(nan=float("inf")))


def _ratio(value: float, bound: float) -> float:
    if value == 0:
        return 0.0
    return value / bound if bound > 0 else float("inf")
