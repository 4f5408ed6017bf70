"""Schedules, noise, guidance and the Euler loop: what the golden vectors leave open."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from openltx.samplers.conversions import x0_from_velocity
from openltx.samplers.denoiser import denoiser
from openltx.samplers.guidance import Guidance, guide
from openltx.samplers.noise import add_noise, draw_noise
from openltx.samplers.schedules import DISTILLED_SIGMAS, check_sigmas, distilled_sigmas, ltx2_sigmas
from openltx.samplers.state import StreamState, fresh_state
from openltx.samplers.steps import StepReport, sample_euler
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


def _state(mask: Tensor, frozen: bool = False) -> StreamState:
    clean = torch.randn(1, mask.shape[1], 3, generator=torch.Generator().manual_seed(1))
    return StreamState(latent=clean, clean=clean, mask=mask, positions=torch.zeros(1, 1, 1, 2), frozen=frozen)


def test_given_tokens_stay_bit_identical_through_a_stage() -> None:
    state = _state(torch.tensor([0.0, 1.0, 0.0, 1.0])[None, :, None])
    noise = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(2))
    start = add_noise(state.latent, state.clean, state.mask, noise, 1.0)

    def velocity(latents: Streams[Tensor], timesteps: Streams[Tensor], sigmas: Streams[Tensor]) -> Streams[Tensor]:
        return latents.map(lambda x, t: 0.3 * x + t, timesteps)

    denoise = denoiser(Streams(video=state), Streams(video=Guidance()), velocity)
    end = sample_euler(denoise, Streams(video=start), ltx2_sigmas(5)).video
    assert end is not None
    assert torch.equal(end[:, [0, 2]], state.clean[:, [0, 2]])
    assert not torch.equal(end[:, [1, 3]], state.clean[:, [1, 3]])


def test_a_perfect_network_leads_euler_to_the_clean_latent() -> None:
    target, noise = torch.full((1, 4, 3), 0.25), torch.ones(1, 4, 3)
    state = fresh_state(torch.zeros(1, 4, 3), torch.zeros(1, 1, 4, 2))

    def velocity(latents: Streams[Tensor], timesteps: Streams[Tensor], sigmas: Streams[Tensor]) -> Streams[Tensor]:
        return latents.map(lambda x, t: (x - target) / t, timesteps)

    end = sample_euler(
        denoiser(Streams(audio=state), Streams(audio=Guidance()), velocity), Streams(audio=noise), ltx2_sigmas(4)
    )
    assert end.audio is not None
    assert torch.allclose(end.audio, target, atol=1e-6)


def test_guidance_one_runs_no_second_pass_and_frozen_streams_see_sigma_zero() -> None:
    seen: list[tuple[str, float, float]] = []

    def record(name: str) -> object:
        def velocity(latents: Streams[Tensor], t: Streams[Tensor], sigmas: Streams[Tensor]) -> Streams[Tensor]:
            assert sigmas.video is not None
            assert sigmas.audio is not None
            seen.append((name, float(sigmas.video), float(sigmas.audio)))
            return latents.map(torch.zeros_like)

        return velocity

    states = Streams(video=_state(torch.ones(1, 2, 1)), audio=_state(torch.zeros(1, 2, 1), frozen=True))
    latents = states.map(lambda state: state.latent)
    none = Streams(video=Guidance(), audio=Guidance())
    denoiser(states, none, record("c"), record("u"))(latents, torch.tensor(0.5))  # type: ignore[arg-type]
    assert seen == [("c", 0.5, 0.0)]
    some = Streams(video=Guidance(), audio=Guidance(cfg=3.0))
    denoiser(states, some, record("c"), record("u"))(latents, torch.tensor(0.5))  # type: ignore[arg-type]
    assert [name for name, _, _ in seen[1:]] == ["c", "u"]
    with pytest.raises(ValueError, match="negative"):
        denoiser(states, some, record("c"))  # type: ignore[arg-type]


def test_text_guidance_formula() -> None:
    c, u = torch.tensor([[[2.0]]]), torch.tensor([[[1.0]]])
    assert guide(c, u, Guidance(cfg=3.0)).item() == 4.0
    assert guide(c, None, Guidance()) is c


def test_nan_stops_at_its_step_and_callbacks_report_every_step() -> None:
    reports: list[StepReport] = []

    def denoise(latents: Streams[Tensor], sigma: Tensor) -> Streams[Tensor]:
        return latents.map(lambda x: x * (float("nan") if sigma < 0.5 else 1.0))

    with pytest.raises(FloatingPointError, match=r"step 3 of 4.*video"):
        sample_euler(denoise, Streams(video=torch.ones(1, 1, 1)), torch.tensor([1, 0.7, 0.4, 0.2, 0]), reports.append)
    assert [(r.index, r.total) for r in reports] == [(0, 4), (1, 4)]


def test_clean_latent_leaves_given_tokens_alone() -> None:
    latent = torch.randn(1, 4, 8).bfloat16()
    timesteps = torch.tensor([0.0, 0.0, 1.0, 0.5])[None, :, None]
    clean = x0_from_velocity(latent, torch.randn(1, 4, 8).bfloat16(), timesteps)
    assert clean.dtype == torch.bfloat16
    assert torch.equal(clean[:, :2], latent[:, :2])
    assert not torch.equal(clean[:, 2:], latent[:, 2:])
