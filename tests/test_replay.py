"""A run that goes on after any of its steps ends in the same bits, whatever its rule and its guidance remember."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from openltx.nodes.noise import SeededNoise
from openltx.nodes.rules import RULES, NamedRule, StepRule
from openltx.nodes.step_changes import ScaledRule, SteadyRule
from openltx.samplers.community import CommunityDenoiser, community_noised
from openltx.samplers.denoiser import Denoiser
from openltx.samplers.guidance import Guidance, MomentumApg, Pass
from openltx.samplers.replay import Replay, StepRecord
from openltx.samplers.state import StreamState, audio_state, noised, video_state
from openltx.samplers.step_changes import SteadyX0
from openltx.samplers.steps import StepReport
from openltx.samplers.streams import Streams

SIGMAS = torch.tensor([1.0, 0.9, 0.7, 0.45, 0.2, 0.0])
GUIDANCE = Guidance(cfg=3.0, skip=1, text_rule=MomentumApg(eta=0.5, threshold=1.0, momentum=-0.5))
CHANGED: dict[str, StepRule] = {
    "scaled": ScaledRule(rule=NamedRule(name="euler"), factors=Streams(video=(0.9, 1.1), audio=(1.0, 0.5))),
    "steady": SteadyRule(rule=NamedRule(name="res_2s", eta=0.5), steady=SteadyX0(factors=Streams(video=(0.9, 0.3)))),
}
ALL: dict[str, StepRule] = {name: NamedRule(name=name, eta=0.5) for name in RULES} | CHANGED


class Network:
    """Velocities that depend on everything an evaluation is given, and how often it was asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(
        self,
        passes: Sequence[Pass],
        latents: Streams[Tensor],
        timesteps: Streams[Tensor],
        sigmas: Streams[Tensor],
        /,
    ) -> list[Streams[Tensor]]:
        self.calls += 1

        def velocity(place: int, x: Tensor, t: Tensor) -> Tensor:
            return torch.tanh(1.3 * x + 0.3 * place + t) - 0.1 * x.roll(1, dims=1)

        return [latents.map(lambda x, t, at=at: velocity(at, x, t), timesteps) for at in range(len(passes))]


def start_states(community: bool) -> Streams[StreamState]:
    generator = torch.Generator().manual_seed(1)
    video = video_state(torch.randn(1, 4, 2, 2, 2, generator=generator), 24.0)
    half = torch.ones_like(video.mask)
    half[:, 1], half[:, 2] = 0.0, 0.4
    states = Streams(video=replace(video, mask=half), audio=audio_state(torch.randn(1, 8, 3, 4, generator=generator)))
    noise = SeededNoise(3).start(states)
    return states.map(lambda state, drawn: (community_noised if community else noised)(state, drawn, 1.0), noise)


class Cut(Exception):
    """The moment of the kill."""


def run(
    rule: StepRule, *, community: bool, record: StepRecord | None = None, after: int | None = None
) -> tuple[Streams[Tensor], list[StepRecord], list[int], int]:
    """after: the step after which it is cut off. Returns latents, records, reported steps and network calls."""
    states, network = start_states(community), Network()
    kept: list[StepRecord] = []
    reported: list[int] = []
    denoise = (CommunityDenoiser if community else Denoiser)(
        states,
        Streams(video=GUIDANCE, audio=Guidance(cfg=2.0)),
        network,
        negative=Streams(video=True, audio=True),
        unconditioned=rule.needs_unconditioned,
    )

    def stepped(report: StepReport) -> None:
        reported.append(report.index)
        if report.index == after:
            raise Cut

    start = states.map(lambda state: state.latent)
    replay = Replay(denoise, start, record=record, keep=kept.append, callback=stepped)
    latents = start
    try:
        latents = rule.run(replay.denoise, states, SIGMAS, SeededNoise(3), replay.stepped)
    except Cut:
        pass
    return latents, kept, reported, network.calls


@pytest.mark.parametrize("community", [False, True])
@pytest.mark.parametrize("name", list(ALL))
def test_a_run_that_was_cut_goes_on_bit_for_bit(name: str, community: bool) -> None:
    expected, whole, _, calls = run(ALL[name], community=community)
    steps = len(whole)
    assert steps == len(SIGMAS) - (name not in ("res_2s", "steady"))  # res_2s ends in a step more
    for after in range(steps):
        _, kept, _, before = run(ALL[name], community=community, after=after)
        found, later, reported, rest = run(ALL[name], community=community, record=kept[-1])
        assert torch.equal(found.video, expected.video), after  # type: ignore[arg-type]
        assert torch.equal(found.audio, expected.audio), after  # type: ignore[arg-type]
        assert reported == list(range(after, steps))
        assert [record.index for record in later] == list(range(after + 1, steps))
        assert before + rest == calls  # nothing is computed twice


def test_a_run_that_is_cut_again_and_again() -> None:
    rule = ALL["gradient_estimation"]
    expected = run(rule, community=False)[0]
    record = None
    for after in range(5):
        record = run(rule, community=False, record=record, after=after)[1][-1]
    found = run(rule, community=False, record=record)[0]
    assert torch.equal(found.video, expected.video)  # type: ignore[arg-type]


def test_a_record_of_another_rule_is_refused_in_one_line() -> None:
    record = run(ALL["euler"], community=False, after=2)[1][-1]
    with pytest.raises(ValueError, match="expected 2 or more evaluations of step 3, found 1; run again without"):
        run(ALL["res_2s"], community=False, record=record)
