"""Changes in each step: clean predictions drawn to statistics, latents scaled; under every rule."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from openltx.nodes.guide import NO_GUIDANCE, Guider
from openltx.nodes.latents import EmptyAVLatent, members
from openltx.nodes.load import INSIDE, LoadModel
from openltx.nodes.noise import SeededNoise
from openltx.nodes.rules import RULES, NamedRule
from openltx.nodes.sample import SampleStage
from openltx.nodes.step_changes import ScaledRule, ScaleSteps, SteadyRule, SteadySteps
from openltx.samplers.conditioning import Keyframe, LatentReplacement, apply_items
from openltx.samplers.denoiser import Denoised
from openltx.samplers.long_video import Target, transfer_statistics
from openltx.samplers.state import StreamState, audio_state, end_stage, noised, video_state
from openltx.samplers.step_changes import SteadyX0, factor_at, scaled_after
from openltx.samplers.steps import StepReport, sample_euler
from openltx.samplers.streams import Streams
from openltx.training.embedded_config import CONTEXT_WIDTH

SIGMAS = torch.tensor([1.0, 0.8, 0.5, 0.2, 0.0])


def _randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _states() -> Streams[StreamState]:
    """4 video channels of 3x2x2 cells, the first frame given, a keyframe appended; 2x16 audio features of 5 frames."""
    picture = LatentReplacement(latent=_randn(1, 4, 1, 2, 2, seed=1))
    keyframe = Keyframe(latent=_randn(1, 4, 1, 2, 2, seed=2), frame=9, strength=0.5)
    video = apply_items(video_state(torch.zeros(1, 4, 3, 2, 2), 24.0), [picture, keyframe])
    audio = audio_state(torch.zeros(1, 2, 5, 16))
    return Streams(video=video, audio=audio).map(lambda state: noised(state, torch.randn_like(state.latent), 1.0))


def _denoise(latents: Streams[Tensor], sigma: Tensor, step: int | None = None) -> Denoised:
    x0 = latents.map(lambda x: 0.7 * x + 0.1)
    return Denoised(x0=x0, unconditioned=x0)


def _run(rule: Any, states: Streams[StreamState]) -> Streams[Tensor]:
    found: Streams[Tensor] = rule.run(_denoise, states, SIGMAS, SeededNoise(1), None)
    return found


@pytest.mark.parametrize("name", RULES)
def test_neutral_factors_change_no_bit(name: str) -> None:
    states, plain = _states(), NamedRule(name=name, eta=0.5)
    steady = SteadyRule(rule=plain, steady=SteadyX0(factors=Streams(video=(0.0,), audio=(0.0,))))
    scaled = ScaledRule(rule=plain, factors=Streams(video=(1.0,), audio=(1.0,)))
    want = _run(plain, states)
    assert want.video is not None
    assert states.video is not None
    given = states.video.mask[0, :, 0] == 0
    for rule in (steady, scaled):
        got = _run(rule, states)
        assert got.video is not None
        assert torch.equal(got.video[:, ~given], want.video[:, ~given])
        assert torch.equal(got.audio, want.audio)  # type: ignore[arg-type]
        assert rule.needs_unconditioned == plain.needs_unconditioned


@pytest.mark.parametrize("name", RULES)
def test_the_end_has_the_statistics_of_the_reference(name: str) -> None:
    """A run ends in its last clean prediction."""
    states = Streams(video=video_state(torch.zeros(1, 4, 3, 2, 2), 24.0), audio=audio_state(torch.zeros(1, 2, 5, 16)))
    states = states.map(lambda state: noised(state, _randn(*state.latent.shape, seed=3), 1.0))
    reference = Streams(video=_randn(1, 4, 7, 3, 3, seed=4) * 2 + 1, audio=_randn(1, 2, 9, 16, seed=5) - 3)
    steady = SteadyX0(factors=Streams(video=(1.0,), audio=(1.0,)), reference=reference)
    found = _run(SteadyRule(rule=NamedRule(name=name, eta=0.5), steady=steady), states)
    ends = found.map(lambda tokens, state: end_stage(replace(state, latent=tokens)).latent, states)
    for end, goal in zip(ends.present(), reference.present(), strict=True):
        assert torch.allclose(end.flatten(2).mean(2), goal.flatten(2).mean(2), atol=1e-4)
        assert torch.allclose(end.flatten(2).std(2), goal.flatten(2).std(2), rtol=1e-4)


def test_a_factor_a_step_is_that_of_the_latent() -> None:
    states = Streams(audio=audio_state(torch.zeros(1, 2, 5, 16)))
    reference = _randn(1, 2, 9, 16, seed=5) - 3
    steady = SteadyX0(factors=Streams(audio=(0.9, 0.25)), reference=Streams(audio=reference))
    denoise, tokens = steady.over(_denoise, states), Streams(audio=_randn(1, 5, 32, seed=6))
    assert states.audio is not None
    plain = _denoise(tokens, SIGMAS[0]).x0.audio
    assert plain is not None
    latent = end_stage(replace(states.audio, latent=plain)).latent
    for step, factor in ((0, 0.9), (None, 0.9), (1, 0.25), (2, 0.25)):
        got = denoise(tokens, SIGMAS[0], step).x0.audio
        assert got is not None
        want = transfer_statistics(latent, reference, factor)
        assert torch.allclose(end_stage(replace(states.audio, latent=got)).latent, want, atol=1e-6)


def test_given_tokens_stay_given_and_appended_ones_are_left_alone() -> None:
    states = _states()
    steady = SteadyX0(factors=Streams(video=(1.0,)), target=Target(mean=5.0, std=2.0, percentile=100.0))
    x0 = steady.over(_denoise, states)(states.map(lambda state: state.latent), SIGMAS[0], 0).x0
    plain = _denoise(states.map(lambda state: state.latent), SIGMAS[0]).x0
    state = states.video
    assert state is not None
    assert x0.video is not None
    assert plain.video is not None
    assert torch.equal(x0.video[:, :4], state.clean[:, :4])
    assert float((x0.video[:, 4:12] - plain.video[:, 4:12]).mean()) > 2
    appended = 0.5 * plain.video[:, 12:] + 0.5 * state.clean[:, 12:]
    assert torch.allclose(x0.video[:, 12:], appended)
    assert torch.equal(x0.audio, plain.audio)  # type: ignore[arg-type]


def test_scaling_is_a_run_split_there() -> None:
    states, factors = _states(), (1.0, 0.25, 1.0, 2.0)
    got = _run(ScaledRule(rule=NamedRule(name="euler"), factors=Streams(audio=factors)), states).audio
    start = Streams(audio=states.audio.latent if states.audio is not None else None)
    first = sample_euler(_denoise, start, SIGMAS[:3]).map(lambda x: x * 0.25)
    second = sample_euler(_denoise, first, SIGMAS[2:]).audio
    assert got is not None
    assert second is not None
    assert torch.allclose(got, second * 2, atol=1e-6)


def test_scaling_leaves_given_tokens_alone() -> None:
    states = _states()
    got = _run(ScaledRule(rule=NamedRule(name="euler"), factors=Streams(video=(0.5,))), states).video
    assert got is not None
    assert states.video is not None
    assert torch.equal(got[:, :4], states.video.clean[:, :4])


def test_a_callback_beside_it_is_told_of_every_step() -> None:
    reports: list[StepReport] = []
    states = _states()
    callback = scaled_after(Streams(audio=(0.5,)), states, reports.append)
    NamedRule(name="euler").run(_denoise, states, SIGMAS, SeededNoise(1), callback)
    assert [report.index for report in reports] == [0, 1, 2, 3]
    assert all(report.latents.audio is not None for report in reports)


def test_the_last_factor_holds() -> None:
    assert [factor_at((0.9, 0.75, 0.0), step) for step in range(5)] == [0.9, 0.75, 0.0, 0.0, 0.0]


def test_a_stage_with_both_changes() -> None:
    model = LoadModel.execute("openltx-tiny-2.3.safetensors", INSIDE, "float32").args[0]
    latent = EmptyAVLatent.execute(model, 64, 32, 9, 24.0).args[0]
    guidance: Any = NO_GUIDANCE
    guider = Guider(model=model, positive=[[_randn(1, 4, CONTEXT_WIDTH), {}]], guidance=guidance)

    def made(sampler: Any) -> Streams[Tensor]:
        with torch.inference_mode():
            return members(SampleStage.execute(SeededNoise(1), guider, sampler, SIGMAS, latent).args[0])

    plain = NamedRule(name="euler")
    softened = ScaleSteps.execute(plain, "", "1, 1, 0.25, 1").args[0]
    steady = SteadySteps.execute(softened, "1", "", 0.0, 1.0, 100.0).args[0]
    both, only = made(steady), made(plain)
    assert both.video is not None
    assert torch.allclose(both.video.flatten(2).std(2), torch.ones(1, 32), rtol=1e-3)
    assert not torch.equal(both.audio, only.audio)  # type: ignore[arg-type]


@pytest.mark.parametrize(("video", "audio"), [("0.9, x", ""), ("2", ""), ("", "-1")])
def test_bad_factors_are_one_line(video: str, audio: str) -> None:
    with pytest.raises(ValueError, match="factors: expected numbers") as error:
        SteadySteps.execute(NamedRule(name="euler"), video, audio, 0.0, 1.0, 95.0)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="factors: expected numbers"):
        scaled_after(Streams(audio=()), _states(), None)
