"""Step rules: what must hold for all of them, and what the golden loops leave open."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from openltx.samplers.denoiser import Denoise, Denoised, Denoiser
from openltx.samplers.guidance import Guidance
from openltx.samplers.noise import SdeNoise, add_noise, sde_noise, step_noise
from openltx.samplers.schedules import distilled_sigmas, ltx2_sigmas
from openltx.samplers.state import StreamState, fresh_state
from openltx.samplers.steps import (
    Res2s,
    StepCallback,
    StepReport,
    sample_ancestral,
    sample_cfgpp,
    sample_euler,
    sample_gradient_estimation,
    sample_res2s,
)
from openltx.samplers.streams import Streams

States = Streams[StreamState]
Rule = Callable[[Denoise, Streams[Tensor], Tensor, "StepCallback | None", States], Streams[Tensor]]

RULES: dict[str, Rule] = {
    "euler": lambda d, x, s, c, states: sample_euler(d, x, s, c),
    "gradient estimation": lambda d, x, s, c, states: sample_gradient_estimation(d, x, s, c),
    "ancestral": lambda d, x, s, c, states: sample_ancestral(d, x, s, c, draw=step_noise(1), states=states),
    "ancestral, eta 0": lambda d, x, s, c, states: sample_ancestral(d, x, s, c, draw=_no_draw, states=states, eta=0),
    "cfg++": lambda d, x, s, c, states: sample_cfgpp(d, x, s, c, draw=_no_draw, states=states),
    "ancestral cfg++": lambda d, x, s, c, states: sample_cfgpp(d, x, s, c, draw=step_noise(1), states=states, eta=1),
    "res_2s": lambda d, x, s, c, states: sample_res2s(d, x, s, c, noise=sde_noise(1), states=states),
}
SIGMAS = {"full": ltx2_sigmas(5), "part": torch.tensor([0.9, 0.7, 0.3])}
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


def _no_draw(latents: Streams[Tensor]) -> Streams[Tensor]:
    raise AssertionError("noise was drawn")


def _randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _states(dtype: torch.dtype = torch.float32) -> States:
    """Video: given, generated, given, partly given, generated; audio: all generated. With noise of level 1."""

    def state(mask: list[float], seed: int) -> StreamState:
        clean = _randn(1, len(mask), 3, seed=seed).to(dtype)
        fresh = fresh_state(clean, torch.zeros(1, 1, len(mask), 2), torch.tensor(mask)[None, :, None])
        noised = add_noise(clean, clean, fresh.mask, _randn(1, len(mask), 3, seed=seed + 10), 1.0)
        return StreamState(latent=noised, clean=clean, mask=fresh.mask, positions=fresh.positions)

    return Streams(video=state([0, 1, 0, 0.4, 1], 1), audio=state([1, 1, 1, 1], 2))


def _denoise(states: States) -> Denoise:
    def predict(passes: object, latents: Streams[Tensor], t: Streams[Tensor], sigmas: object) -> list[Streams[Tensor]]:
        return [latents.map(lambda x, time: 0.3 * x + time.to(x.dtype), t)]

    guidance = states.map(lambda _: Guidance())
    return Denoiser(states, guidance, predict, unconditioned=True)


def _run(rule: Rule, states: States, sigmas: Tensor, callback: StepCallback | None = None) -> Streams[Tensor]:
    return rule(_denoise(states), states.map(lambda state: state.latent), sigmas, callback, states)


@every_rule
@pytest.mark.parametrize("sigmas", SIGMAS.values(), ids=SIGMAS)
def test_given_tokens_stay_bit_identical_through_a_stage(rule: Rule, sigmas: Tensor) -> None:
    states = _states()
    end = _run(rule, states, sigmas).video
    assert end is not None
    assert states.video is not None
    assert torch.equal(end[:, [0, 2]], states.video.clean[:, [0, 2]])
    assert not torch.equal(end[:, [1, 3, 4]], states.video.latent[:, [1, 3, 4]])


@every_rule
def test_the_same_seed_gives_the_same_bits(rule: Rule) -> None:
    one, other = (_run(rule, _states(), SIGMAS["full"]) for _ in range(2))
    for first, second in zip(one.present(), other.present(), strict=True):
        assert torch.equal(first, second)


@every_rule
def test_streams_do_not_need_each_other(rule: Rule) -> None:
    both = _states()
    alone = Streams[StreamState](video=both.video)
    got, together = _run(rule, alone, SIGMAS["full"]), _run(rule, both, SIGMAS["full"])
    assert got.audio is None
    assert got.video is not None
    assert together.video is not None
    if rule in (RULES["euler"], RULES["gradient estimation"], RULES["cfg++"]):
        assert torch.equal(got.video, together.video)  # the others draw for the audio in between


@every_rule
def test_the_dtype_of_the_latents_is_the_one_they_are_rounded_to(rule: Rule) -> None:
    states = _states(torch.bfloat16)
    rounded, exact = _run(rule, states, SIGMAS["full"]), _run(rule, _states(), SIGMAS["full"])
    for got, want in zip(rounded.present(), exact.present(), strict=True):
        assert got.dtype is torch.bfloat16
        assert 0 < float((got.float() - want).abs().max()) < 0.1


@every_rule
def test_a_perfect_network_leads_to_the_clean_latent(rule: Rule) -> None:
    target = torch.full((1, 4, 3), 0.25)
    states = Streams(audio=fresh_state(torch.zeros(1, 4, 3), torch.zeros(1, 1, 4, 2)))

    def denoise(latents: Streams[Tensor], sigma: Tensor, step: int | None = None) -> Denoised:
        x0 = latents.map(lambda x: target)
        return Denoised(x0=x0, unconditioned=x0)

    end = rule(denoise, Streams(audio=_randn(1, 4, 3, seed=4)), SIGMAS["full"], None, states).audio
    assert end is not None
    assert torch.allclose(end, target, atol=1e-6)


@every_rule
def test_nan_stops_at_its_step_and_callbacks_report_every_step(rule: Rule) -> None:
    reports: list[StepReport] = []

    def denoise(latents: Streams[Tensor], sigma: Tensor, step: int | None = None) -> Denoised:
        x0 = latents.map(lambda x: x * (float("nan") if sigma < 0.35 else 1.0))
        return Denoised(x0=x0, unconditioned=x0)

    latents = Streams(video=_randn(1, 2, 2, seed=0))
    states = latents.map(lambda x: fresh_state(x, torch.zeros(1, 1, 2, 2)))
    with pytest.raises(FloatingPointError, match=r"step 3 of \d.*video"):
        rule(denoise, latents, torch.tensor([1, 0.8, 0.34, 0.2, 0]), reports.append, states)
    assert [report.index for report in reports] == [0, 1]


@every_rule
def test_reports_count_to_the_end(rule: Rule) -> None:
    reports: list[StepReport] = []
    _run(rule, _states(), SIGMAS["full"], reports.append)
    assert [report.index + 1 for report in reports] == list(range(1, reports[0].total + 1))
    assert [report.sigma for report in reports[:5]] == SIGMAS["full"][:-1].tolist()


@every_rule
def test_sigmas_that_do_not_fall_are_refused(rule: Rule) -> None:
    with pytest.raises(ValueError, match="sigmas"):
        _run(rule, _states(), torch.tensor([0.5, 0.5, 0.0]))


def test_ancestral_without_noise_is_euler() -> None:
    euler, ancestral = (_run(RULES[name], _states(), SIGMAS["full"]) for name in ("euler", "ancestral, eta 0"))
    for one, other in zip(euler.present(), ancestral.present(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_gamma_one_is_euler() -> None:
    states = _states()
    latents, sigmas = states.map(lambda state: state.latent), SIGMAS["full"]
    plain = sample_euler(_denoise(states), latents, sigmas)
    same = sample_gradient_estimation(_denoise(states), latents, sigmas, gamma=1.0)
    for one, other in zip(plain.present(), same.present(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_cfgpp_without_unconditioned_predictions_is_refused() -> None:
    def denoise(latents: Streams[Tensor], sigma: Tensor, step: int | None = None) -> Denoised:
        return Denoised(x0=latents)

    with pytest.raises(ValueError, match=r"CFG\+\+ needs the unconditioned"):
        sample_cfgpp(denoise, Streams(video=torch.ones(1, 1, 1)), SIGMAS["full"], draw=_no_draw)


@pytest.mark.parametrize("sample", [sample_ancestral, sample_cfgpp])
@pytest.mark.parametrize("bad", [{"eta": -0.1}, {"s_noise": -1.0}, {"eta": float("nan")}])
def test_impossible_noise_is_refused(sample: Callable[..., Streams[Tensor]], bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        sample(_denoise(_states()), Streams(), SIGMAS["full"], draw=_no_draw, **bad)


def test_an_eta_that_would_leave_the_line_is_refused() -> None:
    with pytest.raises(ValueError, match="eta: expected at most 1"):
        sample_ancestral(_denoise(_states()), Streams(), SIGMAS["full"], draw=_no_draw, eta=1.5)
    with pytest.raises(ValueError, match="eta"):
        Res2s(eta=-1)


def test_res2s_evaluates_between_steps_without_a_step_index_and_ends_above_zero() -> None:
    seen: list[tuple[float, int | None]] = []
    states = _states()
    inner = _denoise(states)

    def denoise(latents: Streams[Tensor], sigma: Tensor, step: int | None = None) -> Denoised:
        seen.append((round(float(sigma), 4), step))
        assert sigma.dtype is torch.float32
        return inner(latents, sigma, step)

    latents, noise = states.map(lambda state: state.latent), sde_noise(1)
    sample_res2s(denoise, latents, torch.tensor([1.0, 0.25, 0.0]), noise=noise, states=states)
    assert seen == [(1.0, 0), (0.5, None), (0.25, 1), (0.0166, None), (0.0011, 2)]
    with pytest.raises(ValueError, match=r"0\.0011"):
        sample_res2s(denoise, latents, torch.tensor([1.0, 0.001, 0.0]), noise=noise)


def test_res2s_anchor_is_the_limit_of_the_official_iteration() -> None:
    """The closed form against the iteration that it stands for, in one short step without noise."""
    from openltx.samplers.steps.res2s import coefficients

    h = 0.4
    a21, _, _ = coefficients(h)
    middle, d1 = _randn(5, seed=1).double(), _randn(5, seed=2).double()
    anchor = torch.zeros(5, dtype=torch.float64)
    for _ in range(100):
        anchor = middle - h * a21 * (d1 - anchor)
    assert torch.allclose(anchor, (middle - h * a21 * d1) / (1 - h * a21), rtol=1e-14, atol=1e-15)


def test_every_noisy_rule_draws_as_documented() -> None:
    def counting(log: list[str], name: str) -> Callable[[Streams[Tensor]], Streams[Tensor]]:
        source = step_noise(3)

        def draw(latents: Streams[Tensor]) -> Streams[Tensor]:
            log.append(name)
            return source(latents)

        return draw

    states, sigmas = _states(), distilled_sigmas("stage 2")
    latents = states.map(lambda state: state.latent)
    for sample in (sample_ancestral, sample_cfgpp):
        log: list[str] = []
        sample(_denoise(states), latents, sigmas, draw=counting(log, "step"), states=states, eta=0.5)
        assert log == ["step"] * 2  # none on the step to 0
    log = []
    noise = SdeNoise(step=counting(log, "step"), substep=counting(log, "substep"))
    sample_res2s(_denoise(states), latents, sigmas, noise=noise, states=states)
    assert log == ["substep", "step"] * 3
