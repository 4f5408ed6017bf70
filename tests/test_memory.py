"""A stage that runs out of memory goes on from its last finished step in a cheaper way, and says so once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from openltx.model_loaders.placement import Placement
from openltx.model_loaders.streaming import StreamedTransformer
from openltx.networks.transformer import Transformer
from openltx.nodes import memory
from openltx.nodes.conditioning import EncodePrompt
from openltx.nodes.latents import EmptyAVLatent, members
from openltx.nodes.load import INSIDE, LoadModel
from openltx.nodes.plan import MemoryPlan
from openltx.nodes.sample import Sample
from openltx.nodes.schedule import DistilledSchedule


@pytest.fixture(scope="module")
def graph() -> dict[str, Any]:
    model, text, _, _ = LoadModel.execute("openltx-tiny-2.3.safetensors", INSIDE, "float32").args
    positive = EncodePrompt.execute(text, "a red ball").args[0]
    negative = EncodePrompt.execute(text, "noise").args[0]
    latent = EmptyAVLatent.execute(model, 64, 64, 9, 24.0).args[0]
    sigmas = DistilledSchedule.execute("stage 1").args[0]
    return {"model": model, "positive": positive, "negative": negative, "latent": latent, "sigmas": sigmas}


@torch.inference_mode()
def sampled(graph: dict[str, Any], model: Any = None) -> list[Tensor]:
    finished = Sample.execute(
        model or graph["model"], graph["positive"], graph["latent"], graph["sigmas"], 3, 2.0, 2.0, graph["negative"]
    ).args[0]
    pair = members(finished)
    return [tensor for tensor in (pair.video, pair.audio) if tensor is not None]


def equal(found: list[Tensor], expected: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


class Short:
    """A device whose memory ends at some calls of the network, while it is held whole."""

    def __init__(self, error: Exception, *, at: int = 5, always: bool = False) -> None:
        self.error, self.at, self.always, self.calls = error, at, always, 0

    def install(self, patch: pytest.MonkeyPatch) -> None:
        original = Transformer.forward_each

        def forward_each(network: Transformer, *arguments: Any, **options: Any) -> Any:
            if next(network.parameters()).is_meta:  # the plan's rehearsal
                return original(network, *arguments, **options)
            self.calls += 1
            whole = not isinstance(network, StreamedTransformer)
            if self.calls == self.at or (self.always and self.calls > self.at and whole):
                raise self.error
            return original(network, *arguments, **options)

        patch.setattr(Transformer, "forward_each", forward_each)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_a_stage_goes_on_from_its_last_step(
    graph: dict[str, Any], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    expected, told = sampled(graph), list[str]()
    monkeypatch.setattr(memory, "warn_user", told.append)
    short = Short(error)
    short.install(monkeypatch)
    assert equal(sampled(graph), expected)
    steps = len(graph["sigmas"]) - 1
    assert short.calls == 2 * steps + 1  # two passes a step, and only the failed one again
    assert len(told) == 1
    assert told[0].startswith("out of memory: going on from the last finished step")


def test_at_last_blocks_are_streamed(graph: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    expected, told = sampled(graph), list[str]()
    monkeypatch.setattr(memory, "warn_user", told.append)
    Short(torch.OutOfMemoryError("CUDA out of memory"), always=True).install(monkeypatch)
    assert equal(sampled(graph), expected)
    assert "streamed" in told[-1]


def test_where_nothing_is_cheaper_one_line_says_so(graph: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "warn_user", lambda _: None)

    original = Transformer.forward_each

    def never(network: Transformer, *arguments: Any, **options: Any) -> Any:
        if next(network.parameters()).is_meta:
            return original(network, *arguments, **options)
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Transformer, "forward_each", never)
    with pytest.raises(ValueError, match="no way that needs less .CUDA out of memory.; make the clip shorter"):
        sampled(graph)


def test_other_errors_are_not_swallowed(graph: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    Short(RuntimeError("shape mismatch")).install(monkeypatch)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        sampled(graph)


def test_a_gpu_that_fails_ends_with_one_line(graph: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    text = "CUDA error: unspecified launch failure\nCUDA kernel errors might be asynchronously reported"
    Short(RuntimeError(text)).install(monkeypatch)
    with pytest.raises(ValueError, match="the GPU stopped working") as error:
        sampled(graph)
    assert str(error.value) == (
        "the GPU stopped working (CUDA error: unspecified launch failure); end this process and start again"
    )


def test_a_chosen_placement_is_followed_and_kept(graph: dict[str, Any]) -> None:
    streamed = replace(graph["model"], placement=Placement(resident_blocks=1, passes_at_once=1))
    expected = sampled(graph)
    assert equal(sampled(graph, streamed), expected)
    first = memory._streamed[streamed.transformer].network
    sampled(graph, streamed)
    assert memory._streamed[streamed.transformer].network is first
    memory.forget(streamed.transformer)
    assert streamed.transformer not in memory._streamed


def test_the_plan_node_says_what_is_needed_and_can_be_overruled(graph: dict[str, Any]) -> None:
    asked = graph["model"], graph["latent"], 2, 8
    _, plan = MemoryPlan.execute(*asked, "auto").args
    assert plan.splitlines()[3].startswith("denoise")
    chosen, plan = MemoryPlan.execute(*asked, "streamed", 1, 1, 16).args
    assert "chosen otherwise" in plan
    assert chosen.placement == Placement(resident_blocks=1, passes_at_once=1, feed_forward_chunk=16)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(sampled(graph, chosen), sampled(graph), strict=True))
    with pytest.raises(ValueError, match="resident_blocks: expected at most"):
        MemoryPlan.execute(*asked, "auto", 200)
