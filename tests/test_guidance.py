"""Guidance: passes that run and do not run, formulas at their edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from openltx.nodes.guide import GuidanceRange, StreamGuidance
from openltx.samplers.community import ChannelApg
from openltx.samplers.denoiser import Denoiser
from openltx.samplers.guidance import (
    HQ_GUIDANCE,
    Apg,
    Cfg,
    CfgStar,
    Guidance,
    GuidanceBySigma,
    MomentumApg,
    Pass,
    Predictions,
    TextRule,
    default_guidance,
    guide,
)
from openltx.samplers.schedules import ltx2_sigmas
from openltx.samplers.state import StreamState
from openltx.samplers.steps import sample_cfgpp
from openltx.samplers.streams import Streams

HALF = torch.tensor(0.5)
BOTH = Streams(video=True, audio=True)


def _randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _state(seed: int = 0, *, frozen: bool = False) -> StreamState:
    clean = _randn(1, 4, 3, seed=seed)
    mask = torch.zeros(1, 4, 1) if frozen else torch.ones(1, 4, 1)
    return StreamState(latent=clean, clean=clean, mask=mask, positions=torch.zeros(1, 1, 4, 2), frozen=frozen)


@dataclass
class _Recorder:
    """A network that tells its passes apart, and writes down what it was asked."""

    calls: list[list[Pass]] = field(default_factory=list)
    sigmas: list[Streams[float]] = field(default_factory=list)

    def __call__(
        self,
        passes: Sequence[Pass],
        latents: Streams[Tensor],
        timesteps: Streams[Tensor],
        sigmas: Streams[Tensor],
        /,
    ) -> list[Streams[Tensor]]:
        self.calls.append(list(passes))
        self.sigmas.append(sigmas.map(float))
        return [latents.map(lambda x, index=index: (index + 1) * x) for index in range(len(passes))]

    @property
    def names(self) -> list[list[str]]:
        return [[a_pass.name for a_pass in passes] for passes in self.calls]


def _denoiser(video: Any, audio: Any, network: _Recorder, **options: Any) -> Denoiser:
    states = Streams(video=_state(1), audio=_state(2))
    return Denoiser(states, Streams(video=video, audio=audio), network, **{"negative": BOTH, **options})


LATENTS = Streams(video=_randn(1, 4, 3, seed=3), audio=_randn(1, 4, 3, seed=4))


@pytest.mark.parametrize(
    ("video", "audio", "names"),
    [
        (Guidance(), Guidance(), []),
        (Guidance(rescale=0.7), Guidance(), []),
        (Guidance(cfg=1 + 1e-12), Guidance(), []),
        (Guidance(cfg=3), Guidance(), ["unconditioned"]),
        (Guidance(), Guidance(stg=1), ["perturbed"]),
        (Guidance(stg=1, stg_blocks=frozenset()), Guidance(), []),
        (Guidance(), Guidance(modality=3), ["isolated"]),
        (Guidance(cfg=0, text_rule=MomentumApg()), Guidance(), []),
        (Guidance(cfg=1, text_rule=MomentumApg()), Guidance(), ["unconditioned"]),
        (Guidance(stg=1), Guidance(cfg=7, modality=3), ["unconditioned", "perturbed", "isolated"]),
    ],
)
def test_guidance_costs_the_passes_that_it_needs_and_no_other(
    video: Guidance, audio: Guidance, names: list[str]
) -> None:
    network = _Recorder()
    _denoiser(video, audio, network)(LATENTS, HALF, 0)
    assert network.names == [["conditioned", *names]]


def test_what_each_pass_is_asked() -> None:
    network = _Recorder()
    guidance = (Guidance(cfg=3, stg=1, stg_blocks=frozenset({1})), Guidance(modality=2))
    _denoiser(*guidance, network, negative=Streams(video=True, audio=False))(LATENTS, HALF, 0)
    conditioned, unconditioned, perturbed, isolated = network.calls[0]
    assert unconditioned.positive == Streams(video=False, audio=True)  # the audio has no negative text
    assert perturbed.skip_self_attention == Streams(video=frozenset({1}))  # the audio did not ask
    assert isolated.isolated
    for a_pass in (conditioned, perturbed, isolated):
        assert a_pass.positive == BOTH
    for a_pass in network.calls[0]:
        assert a_pass.enabled == BOTH


def test_missing_negative_text_is_refused_before_anything_runs() -> None:
    by_sigma = GuidanceBySigma({1.0: Guidance(), 0.5: Guidance(cfg=2)})
    for guidance in (Guidance(cfg=2), by_sigma):
        with pytest.raises(ValueError, match="needs a negative prompt"):
            _denoiser(Guidance(), guidance, _Recorder(), negative=Streams(video=True))


def test_a_frozen_stream_sees_sigma_zero_asks_for_nothing_and_stays() -> None:
    network, frozen = _Recorder(), _state(2, frozen=True)
    states, guidance = Streams(video=_state(1), audio=frozen), Streams(video=Guidance(), audio=Guidance(cfg=7, skip=1))
    denoise = Denoiser(states, guidance, network)
    latents = Streams(video=LATENTS.video, audio=frozen.latent)
    for step in range(2):
        x0 = denoise(latents, HALF, step).x0
        assert x0.audio is not None
        assert torch.equal(x0.audio, frozen.clean)
    assert network.names == [["conditioned"]] * 2
    assert network.sigmas == [Streams(video=0.5, audio=0.0)] * 2
    assert network.calls[1][0].enabled == BOTH  # its tokens are read, so they must be up to date


def test_a_stream_alone_is_not_isolated_from_anything() -> None:
    network = _Recorder()
    guidance = default_guidance("2.3").audio
    assert guidance is not None
    denoise = Denoiser(Streams(audio=_state()), Streams(audio=guidance), network, negative=Streams(audio=True))
    assert denoise(Streams(audio=LATENTS.audio), HALF, 0).x0.video is None
    assert network.names == [["conditioned", "unconditioned", "perturbed"]]


def test_skipped_streams_reuse_their_prediction_and_cost_nothing() -> None:
    network = _Recorder()
    denoise = _denoiser(Guidance(skip=1, cfg=3), Guidance(skip=2, stg=1), network)
    results = [denoise(LATENTS.map(lambda x, n=step: x + n), HALF, step).x0 for step in range(6)]
    enabled = [passes[0].enabled for passes in network.calls]
    # video: steps 0 2 4, audio: 0 3
    assert enabled == [BOTH, Streams(video=True, audio=False), Streams(video=False, audio=True), enabled[1]]
    assert network.names[1:3] == [["conditioned", "unconditioned"], ["conditioned", "perturbed"]]
    videos, audios = [x.video for x in results], [x.audio for x in results]
    assert torch.equal(videos[0], videos[1])  # type: ignore[arg-type]
    assert torch.equal(audios[0], audios[2])  # type: ignore[arg-type]
    assert not torch.equal(videos[1], videos[2])  # type: ignore[arg-type]


def test_evaluations_between_steps_are_never_skipped() -> None:
    network = _Recorder()
    denoise = _denoiser(Guidance(skip=9), Guidance(skip=9), network)
    for step in (0, None, 1, None):
        denoise(LATENTS, HALF, step)
    assert len(network.calls) == 3


def test_the_first_evaluation_is_never_skipped() -> None:
    network = _Recorder()
    _denoiser(Guidance(skip=1), Guidance(skip=1), network)(LATENTS, HALF, 1)
    assert len(network.calls) == 1


def test_unconditioned_predictions_are_raw_and_free_where_there_is_no_negative_text() -> None:
    network = _Recorder()
    denoise = _denoiser(Guidance(), Guidance(), network, unconditioned=True)
    assert _denoiser(Guidance(), Guidance(), network)(LATENTS, HALF, 0).unconditioned is None
    denoised = denoise(LATENTS, HALF, 0)
    assert denoised.unconditioned is not None
    assert torch.allclose(denoised.unconditioned.video, torch.zeros(1, 4, 3))  # type: ignore[arg-type]  # x - 2 x / 2
    free = _denoiser(Guidance(), Guidance(), network, unconditioned=True, negative=Streams())(LATENTS, HALF, 0)
    assert network.names[1:] == [["conditioned", "unconditioned"], ["conditioned"]]
    assert free.unconditioned is not None
    assert torch.equal(free.unconditioned.video, free.x0.video)  # type: ignore[arg-type]
    end = sample_cfgpp(denoise, LATENTS, ltx2_sigmas(3), draw=lambda latents: latents)
    assert all(bool(torch.isfinite(x).all()) for x in end.present())


def test_bounds_of_sigma_ranges_hold_the_float32_of_themselves() -> None:
    by_sigma = GuidanceBySigma({bound: Guidance(cfg=bound) for bound in (0.1, 0.7, 0.9)})
    for bound in (0.1, 0.7, 0.9):
        assert by_sigma.at(float(torch.tensor(bound))).cfg == bound
    assert by_sigma.at(1.0).cfg == 0.9
    assert by_sigma.at(0.0).cfg == 0.1
    with pytest.raises(ValueError, match="sigma ranges"):
        GuidanceBySigma({})


def test_ranges_of_sigma_are_split_and_may_be_nested() -> None:
    """At every sigma the split gives what its parts would."""
    plain = [Guidance(cfg=float(index + 2)) for index in range(4)]
    low = GuidanceBySigma({0.2: plain[0], 0.8: plain[1]})
    high = GuidanceBySigma({0.4: plain[2], 0.9: plain[3]})
    for border in (0.0, 0.1, 0.2, 0.5, 0.8, 0.95, 1.0):
        split = GuidanceBySigma.split(border, high=high, low=low)
        for step in range(101):
            sigma = float(torch.tensor(step / 100))
            expected = low if sigma <= float(torch.tensor(border)) else high
            assert split.at(sigma) == expected.at(sigma), (border, sigma)
    both = GuidanceBySigma.split(0.5, high=Guidance(cfg=5.0), low=Guidance())
    assert {own.cfg for own in both.sets()} == {1.0, 5.0}


def test_the_nodes_make_ranges_and_text_rules() -> None:
    def made(rule: str, **apg: float) -> TextRule:
        found: TextRule = StreamGuidance.execute(3.0, 0.0, "28", 1.0, 0.0, 0, rule, **apg).args[0].text_rule
        return found

    assert made("cfg") == Cfg()
    assert made("cfg_star") == CfgStar()
    assert made("apg") == Apg()
    assert made("apg_momentum") == MomentumApg(momentum=-0.75)
    assert made("apg", apg_eta=0.5, apg_threshold=3.0) == Apg(eta=0.5, threshold=3.0)
    assert made("apg_momentum", apg_threshold=0.0, apg_momentum=0.1) == MomentumApg(threshold=0.0, momentum=0.1)
    assert made("apg_channel", apg_threshold=2.0) == ChannelApg(threshold=2.0)
    ranges = GuidanceRange.execute(0.5, Guidance(cfg=4.0)).args[0]
    assert (ranges.at(0.9).cfg, ranges.at(0.5).cfg, ranges.at(0.1).cfg) == (4.0, 1.0, 1.0)


def test_impossible_guidance_is_refused() -> None:
    for bad in ({"cfg": float("nan")}, {"skip": -1}, {"stg_blocks": frozenset({-1})}, {"rescale": float("inf")}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            Guidance(**bad)
    with pytest.raises(ValueError, match="generation"):
        default_guidance("3")


def test_defaults_differ_in_the_block_only() -> None:
    for generation, block in (("2", 29), ("2.3", 28), ("2.5", 28)):
        for guidance in default_guidance(generation).present():
            assert guidance.stg_blocks == frozenset({block})
    assert HQ_GUIDANCE.video is not None
    assert not HQ_GUIDANCE.video.wants("perturbed")


def test_no_guidance_returns_the_prediction_itself_and_keeps_dtypes() -> None:
    c = _randn(1, 4, 3).bfloat16()
    assert guide(Predictions(conditioned=c), Guidance(rescale=0.5))[0] is c
    guided, _ = guide(Predictions(conditioned=c, unconditioned=c * 0.5), Guidance(cfg=3))
    assert guided.dtype is torch.bfloat16
    assert torch.allclose(guided.float(), 2 * c.float(), rtol=0.01)


def test_full_rescale_gives_the_deviation_back() -> None:
    c, u = _randn(1, 8, 4, seed=1), _randn(1, 8, 4, seed=2)
    guided, _ = guide(Predictions(conditioned=c, unconditioned=u), Guidance(cfg=7, rescale=1.0))
    assert guided.std() == pytest.approx(float(c.std()), rel=1e-5)


@pytest.mark.parametrize(
    "rule", [Cfg(), CfgStar(), Apg(eta=0.5, threshold=2.0), MomentumApg(momentum=0.5, threshold=2.0)]
)
def test_text_rules_treat_samples_apart_and_stand_still_at_their_neutral_scale(rule: TextRule) -> None:
    c, u = _randn(2, 5, 3, seed=1), _randn(2, 5, 3, seed=2)
    together, _ = rule.delta(c, u, 4.0, None)
    apart = [rule.delta(c[n : n + 1], u[n : n + 1], 4.0, None)[0] for n in range(2)]
    assert torch.allclose(together, torch.cat(apart), atol=1e-6)
    assert rule.delta(c, u, rule.neutral, None)[0].abs().max() == 0
    same, _ = rule.delta(c, c, 4.0, None)
    assert bool(torch.isfinite(same).all())


def test_momentum_runs_through_the_denoiser() -> None:
    guidance = Guidance(cfg=2.0, text_rule=MomentumApg(momentum=1.0, threshold=0.0))
    denoise = _denoiser(guidance, Guidance(), _Recorder())
    first, second = (denoise(LATENTS, HALF, step).x0.video for step in range(2))
    assert first is not None
    assert second is not None
    assert LATENTS.video is not None
    # c = x / 2, u = 0, so the sum grows from x / 2 to x: c + 2 sum
    assert torch.allclose(first, 1.5 * LATENTS.video, atol=1e-6)
    assert torch.allclose(second, 2.5 * LATENTS.video, atol=1e-6)
