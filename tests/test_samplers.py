"""Schedules, noise and the denoiser's plain case: what the golden vectors leave open."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from openltx.samplers.conversions import x0_from_velocity
from openltx.samplers.incomplete_beta import beta_distribution, beta_quantile
from openltx.samplers.noise import (
    STEP_SEED_OFFSET,
    add_noise,
    draw_noise,
    noise_source,
    normalised,
    sde_noise,
    step_noise,
)
from openltx.samplers.schedules import (
    DISTILLED_SIGMAS,
    beta_sigmas,
    check_sigmas,
    distilled_sigmas,
    linear_quadratic_sigmas,
    ltx2_sigmas,
    manual_sigmas,
    sigmas_from,
    step_range,
)
from openltx.samplers.streams import Streams


@given(st.integers(1, 60), st.integers(1, 200_000), st.booleans(), st.floats(0.01, 0.9))
def test_every_schedule_falls_from_one_to_zero(steps: int, tokens: int, stretch: bool, terminal: float) -> None:
    sigmas = ltx2_sigmas(steps, tokens=tokens, stretch=stretch, terminal=terminal)
    assert len(sigmas) == steps + 1
    assert abs(float(sigmas[0]) - 1) < 1e-4
    assert sigmas[-1] == 0
    # Unstretched, the shift of a 4K clip presses all values but the last against 1, closer than float32 tells apart.
    falls = sigmas[1:] < sigmas[:-1] if stretch else sigmas[1:] <= sigmas[:-1]
    assert bool(falls.all())
    if stretch and steps > 1:
        assert abs(float(sigmas[-2]) - terminal) < 1e-5


def test_one_step_is_not_divided_by_zero() -> None:
    assert ltx2_sigmas(1).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("table", DISTILLED_SIGMAS)
def test_distilled_tables_are_legal(table: str) -> None:
    assert check_sigmas(distilled_sigmas(table)).dtype is torch.float32


@given(st.integers(1, 200), st.floats(0.001, 0.4), st.data())
def test_linear_quadratic_schedules_are_legal(steps: int, threshold: float, data: st.DataObject) -> None:
    # With more than half of the steps in the linear part the curve may overshoot: that is the user's affair.
    linear = data.draw(st.integers(1, max(1, steps // 2)))
    sigmas = linear_quadratic_sigmas(steps, threshold=threshold, linear_steps=linear)
    assert (len(sigmas), float(sigmas[0]), float(sigmas[-1])) == (steps + 1, 1.0, 0.0)
    assert sigmas.dtype is torch.float32


@given(st.integers(1, 100), st.floats(0.3, 3.0), st.floats(0.3, 3.0))
def test_beta_schedules_are_legal(steps: int, alpha: float, beta: float) -> None:
    sigmas = check_sigmas(beta_sigmas(steps, alpha=alpha, beta=beta))
    assert sigmas[0] == 1
    assert sigmas[-1] == 0
    assert len(sigmas) <= steps + 1


@given(st.floats(0.01, 0.99), st.floats(0.2, 5.0), st.floats(0.2, 5.0))
def test_the_beta_quantile_inverts_the_distribution(p: float, alpha: float, beta: float) -> None:
    x = beta_quantile(p, alpha, beta)
    if 1e-9 < x < 1 - 1e-9:  # beyond, a double cannot tell x from its neighbours
        assert beta_distribution(x, alpha, beta) == pytest.approx(p, abs=1e-6)


@given(st.floats(0.2, 5.0), st.floats(0.2, 5.0))
def test_the_beta_distribution_at_the_border_of_its_two_formulas(alpha: float, beta: float) -> None:
    border = (alpha + 1) / (alpha + beta + 2)
    near = [math.nextafter(border, 0), border, math.nextafter(border, 1)]
    values = [beta_distribution(x, alpha, beta) for x in near]
    assert values == pytest.approx([values[1]] * 3, abs=1e-12)


def test_the_beta_distribution_where_it_is_known() -> None:
    assert beta_distribution(0.3, 1.0, 1.0) == pytest.approx(0.3, abs=1e-14)
    assert beta_distribution(0.3, 2.0, 1.0) == pytest.approx(0.09, abs=1e-14)
    assert beta_distribution(0.3, 0.5, 0.5) == pytest.approx(2 / math.pi * math.asin(math.sqrt(0.3)), abs=1e-13)
    assert beta_quantile(0.0, 0.6, 0.6) == pytest.approx(0.0)
    assert beta_quantile(1.0, 0.6, 0.6) == 1.0


def test_manual_lists_are_read_and_checked() -> None:
    assert torch.equal(manual_sigmas("1, 0.5; 0.25 0"), torch.tensor([1, 0.5, 0.25, 0]))
    assert torch.equal(manual_sigmas([0.9, 0.0]), torch.tensor([0.9, 0.0]))
    for bad in ("1, half, 0", "1", "", "0.5, 0.9, 0"):
        with pytest.raises(ValueError, match="sigmas"):
            manual_sigmas(bad)


def test_a_range_of_steps_and_a_later_start() -> None:
    sigmas = distilled_sigmas("stage 1")
    assert torch.equal(torch.cat([step_range(sigmas, 0, 3), step_range(sigmas, 3)[1:]]), sigmas)
    assert torch.equal(sigmas_from(sigmas, 0.909375), distilled_sigmas("stage 2"))
    assert torch.allclose(sigmas_from(sigmas, 0.8), torch.tensor([0.8, 0.725, 0.421875, 0.0]))
    for first, last in ((3, 3), (-1, 2), (0, 9), (8, None)):
        with pytest.raises(ValueError, match="steps"):
            step_range(sigmas, first, last)
    for start in (0.0, -0.5, 1.5):
        with pytest.raises(ValueError, match="start sigma"):
            sigmas_from(sigmas, start)


@pytest.mark.parametrize("bad", [[], [1.0], [0.5, 0.5, 0.0], [0.1, 0.5], [1.5, 0.0], [1.0, float("nan"), 0.0]])
def test_bad_sigmas_are_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="sigmas"):
        check_sigmas(torch.tensor(bad))


def test_bad_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="steps"):
        ltx2_sigmas(0)
    with pytest.raises(ValueError, match="terminal"):
        ltx2_sigmas(8, terminal=1.0)
    with pytest.raises(ValueError, match="table"):
        distilled_sigmas("stage 9")
    with pytest.raises(ValueError, match="threshold"):
        linear_quadratic_sigmas(8, threshold=1.0)
    with pytest.raises(ValueError, match="linear_steps"):
        linear_quadratic_sigmas(8, linear_steps=9)
    with pytest.raises(ValueError, match="alpha"):
        beta_sigmas(8, alpha=0.0)


def test_noise_depends_on_the_seed_alone_and_is_drawn_video_first() -> None:
    shapes: Streams[Sequence[int]] = Streams(video=(1, 4, 2, 3, 3), audio=(1, 2, 5, 16))
    one, again, other = draw_noise(7, shapes), draw_noise(7, shapes), draw_noise(8, shapes)
    assert one.video is not None
    assert one.audio is not None
    assert again.video is not None
    assert torch.equal(one.video, again.video)
    assert other.video is not None
    assert not torch.equal(one.video, other.video)
    generator = torch.Generator().manual_seed(7)
    assert torch.equal(one.video, torch.randn(1, 4, 2, 3, 3, generator=generator))
    assert torch.equal(one.audio, torch.randn(1, 2, 5, 16, generator=generator))


def test_step_noise_has_its_own_generator_and_the_documented_order() -> None:
    latents = Streams(video=torch.zeros(1, 4, 3), audio=torch.zeros(1, 2, 5))
    draw, generator = step_noise(7), torch.Generator().manual_seed(7 + STEP_SEED_OFFSET)
    for _ in range(2):
        drawn = draw(latents)
        assert drawn.video is not None
        assert drawn.audio is not None
        assert torch.equal(drawn.video, torch.randn(1, 4, 3, generator=generator))
        assert torch.equal(drawn.audio, torch.randn(1, 2, 5, generator=generator))
    noises, steps, substeps = sde_noise(7), noise_source(7), step_noise(7)
    for one, other in ((noises.step, steps), (noises.substep, substeps)):
        got, want = one(latents).video, other(latents).video
        assert got is not None
        assert want is not None
        assert torch.equal(got, want)


@pytest.mark.parametrize("seed", [-1, 0, 2**64 - 1])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_step_noise_takes_every_seed_and_the_dtype_of_the_latent(seed: int, dtype: torch.dtype) -> None:
    noise = step_noise(seed)(Streams(audio=torch.zeros(1, 2, 5, dtype=dtype))).audio
    assert noise is not None
    assert noise.dtype is dtype


def test_normalised_noise_is_normal_in_each_sample() -> None:
    noise = 3 + 2 * torch.randn(2, 7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for sample in normalised(noise):
        assert sample.mean().abs() < 1e-12
        assert (sample.std() - 1).abs() < 1e-12


def test_noise_of_a_level_and_a_mask() -> None:
    latent, clean, noise = (torch.full((1, 2, 1), value) for value in (4.0, 1.0, 0.0))
    mask = torch.tensor([0.0, 1.0])[None, :, None]
    assert add_noise(latent, clean, mask, noise, 0.25).flatten().tolist() == [1.0, 3.0]


def test_clean_latent_leaves_given_tokens_alone() -> None:
    latent = torch.randn(1, 4, 8).bfloat16()
    timesteps = torch.tensor([0.0, 0.0, 1.0, 0.5])[None, :, None]
    clean: Tensor = x0_from_velocity(latent, torch.randn(1, 4, 8).bfloat16(), timesteps)
    assert clean.dtype == torch.bfloat16
    assert torch.equal(clean[:, :2], latent[:, :2])
    assert not torch.equal(clean[:, 2:], latent[:, 2:])
