"""The judge of golden cases must be able to fail."""

from __future__ import annotations

import pytest
import torch

from openltx.conformance.compare import judge, relative_rms, rule_for

WANT = torch.tensor([1.0, -2.0, 4.0])


def test_tolerances_bite() -> None:
    assert judge("x", WANT, WANT, {"rtol": 0, "atol": 0}).passed
    assert judge("x", WANT + 0.009, WANT, {"atol": 0.01}).passed
    assert not judge("x", WANT + 0.011, WANT, {"atol": 0.01}).passed
    assert judge("x", WANT * 1.009, WANT, {"rtol": 0.01}).passed
    assert not judge("x", WANT * 1.011, WANT, {"rtol": 0.01}).passed
    assert judge("x", WANT + 0.39, WANT, {"atol_of_max": 0.1}).passed
    assert not judge("x", WANT + 0.41, WANT, {"atol_of_max": 0.1}).passed
    assert not judge("x", WANT + torch.tensor([0, 0, 0.4]), WANT, {"mean_abs": 0.1}).passed


@pytest.mark.parametrize("bad", [None, WANT[:2], torch.tensor([1.0, float("nan"), 4.0]), torch.full((3,), torch.inf)])
def test_missing_misshapen_and_non_finite_fail(bad: torch.Tensor | None) -> None:
    assert not judge("x", bad, WANT, {"atol": 1e9}).passed
    assert not relative_rms("x", bad, WANT, 0.5).passed


def test_code_flips() -> None:
    want = torch.zeros(100)
    one = want.clone()
    one[0] = 1
    assert judge("x", one, want, {"code_flips": 0.01}).passed
    assert not judge("x", one, want, {"code_flips": 0.001}).passed
    assert not judge("x", one * 2, want, {"code_flips": 0.5}).passed


def test_rules_by_glob_and_unknown_rules() -> None:
    assert rule_for("a_f32", {"*_f32": {"atol": 5.0}}, 1.0, 2.0) == {"atol": 5.0}
    assert rule_for("a_f32", {"@out/*f32*": {"atol": 5.0}}, 1.0, 2.0) == {"atol": 5.0}
    assert rule_for("b", {"*_f32": {"atol": 5.0}}, 1.0, 2.0) == {"rtol": 1.0, "atol": 2.0}
    assert not judge("x", WANT, WANT, {"fuzzy": 1.0}).passed
