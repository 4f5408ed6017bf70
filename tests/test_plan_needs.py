"""What a rehearsal predicts, against what a run takes; the long comparison is `openltx bench plan`."""

from __future__ import annotations

import pytest
import torch

from openltx.benchmarks.plan import BAR, PHASES, rows
from openltx.model_loaders.published import TRANSFORMER_2_3
from openltx.networks.transformer import rope
from openltx.plan.allocations import Allocations
from openltx.plan.needs import Tokens, denoise_need
from openltx.plan.rehearsal import rehearsed

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("phase", PHASES)
def test_a_prediction_is_within_a_tenth_of_the_measured_peak(phase: str) -> None:
    found = list(rows(11, 2, (phase,)))
    assert len(found) == 2
    for row in found:
        assert abs(row.error) <= BAR, f"{row.setting}: {row.predicted} predicted, {row.measured} measured"


def test_allocations_follow_what_lives() -> None:
    x = torch.empty(1000, device="meta")
    with Allocations([x]) as counted:
        first = x.exp()
        second = first.exp()
        del first
        x.exp_()
        third = second[:10]
        del second, third
    assert counted.peak == 8000
    assert counted.level == 0


def test_products_are_counted_twice_a_multiply_add() -> None:
    a, b = torch.empty(3, 5, device="meta"), torch.empty(5, 7, device="meta")
    assert rehearsed(lambda: a @ b, [a, b], CPU).operations == 2 * 3 * 5 * 7


def test_a_rehearsal_leaves_no_hollow_tensors_in_what_networks_remember() -> None:
    denoise_need(TRANSFORMER_2_3, torch.bfloat16, CPU, Tokens(video=6144, audio=126))
    assert TRANSFORMER_2_3.video is not None
    grid = rope.frequency_grid(4096 // 6, 10000.0)
    assert grid.device == CPU
    assert bool(grid.isfinite().all())


def test_a_gpu_is_rehearsed_without_one() -> None:
    """Full size, spec memory.md section 2: between the careful floor and the published code's shared timestep."""
    tokens = Tokens(video=6144, audio=126)
    need = denoise_need(TRANSFORMER_2_3, torch.bfloat16, GPU, tokens)
    assert 56e3 < need.bytes / tokens.video < 170e3
    assert need.operations == pytest.approx(198.7e12, rel=0.01)


def test_given_tokens_and_batched_passes_need_more() -> None:
    plain = denoise_need(TRANSFORMER_2_3, torch.bfloat16, GPU, Tokens(video=6144, audio=126))
    given = denoise_need(TRANSFORMER_2_3, torch.bfloat16, GPU, Tokens(video=6144, audio=126, distinct=True))
    twice = denoise_need(TRANSFORMER_2_3, torch.bfloat16, GPU, Tokens(video=6144, audio=126), passes=2)
    assert plain.bytes < given.bytes < twice.bytes < 2 * plain.bytes
