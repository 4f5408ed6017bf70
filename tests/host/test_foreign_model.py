"""Our guiders on ComfyUI's own LTX-2 model, which reads the embedded file with its own loader and its own network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

CHANGES: list[dict[str, Any]] = [{"rescale": 0.7}, {"modality": 3.0}, {"text_rule": "apg", "apg_eta": 0.0}]


@pytest.fixture(scope="module")
def stage(comfyui_base: Path, side: Any, foreign: Any) -> dict[str, Any]:
    found: dict[str, Any] = foreign.stage_of(comfyui_base, side)
    return found


def sampled(graphs: Any, side: Any, foreign: Any, stage: Any, model: str, **settings: Any) -> Any:
    return graphs.run({**stage, **foreign.guided(side, model, **settings)}, ("out", 0))["samples"].unbind()


def test_plain_guidance_is_that_of_their_own_guider(graphs: Any, side: Any, foreign: Any, stage: Any) -> None:
    theirs = graphs.run({**stage, **side.cores(3.0, model="theirs")}, ("out", 0))["samples"].unbind()
    assert foreign.close(sampled(graphs, side, foreign, stage, "theirs"), theirs, 1e-5)


@pytest.mark.parametrize("settings", CHANGES, ids=str)
def test_guidance_means_the_same_on_both(
    graphs: Any, side: Any, foreign: Any, stage: Any, settings: dict[str, Any]
) -> None:
    plain = sampled(graphs, side, foreign, stage, "load")
    if not foreign.close(sampled(graphs, side, foreign, stage, "theirs"), plain):
        pytest.skip("this ComfyUI's own network computes other numbers than ours, without any guidance of ours")
    ours = sampled(graphs, side, foreign, stage, "load", **settings)
    assert foreign.close(sampled(graphs, side, foreign, stage, "theirs", **settings), ours)
    assert not foreign.close(ours, plain)


def test_skipped_blocks_or_a_word_about_them(graphs: Any, side: Any, foreign: Any, stage: Any) -> None:
    if foreign.knows("stg_self_attn_blocks"):
        ours = sampled(graphs, side, foreign, stage, "load", stg=1.0)
        assert foreign.close(sampled(graphs, side, foreign, stage, "theirs", stg=1.0), ours)
        assert not foreign.close(ours, sampled(graphs, side, foreign, stage, "load"))
    else:
        text = graphs.run({**stage, **foreign.guided(side, "theirs", stg=1.0)}, ("out", 0), expect="failed")
        assert "expected stg 0 on ComfyUI's own model" in text


def test_what_cannot_be_done_on_it_is_named(graphs: Any, side: Any, foreign: Any, stage: Any) -> None:
    graph = {**stage, **foreign.guided(side, "theirs", skip=1)}
    graph["guider"]["inputs"].pop("audio")  # the picture alone skips steps
    text = graphs.run(graph, ("out", 0), expect="failed")
    assert "expected skip 0 on ComfyUI's own model" in text
    half = side.node("OpenLTXOneStream", model=["theirs", 0], stream="audio")
    text = graphs.run({**stage, "half": half}, ("half", 0), expect="failed")
    assert "model: expected a model from Load LTX Model, found ComfyUI's LTXAV" in text


def test_an_empty_latent_for_it(
    graphs: Any, side: Any, foreign: Any, stage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    size = {"width": 64, "height": 64, "frames": 17, "frame_rate": 24.0}
    graph = {**stage, "fitting": side.node("OpenLTXEmptyAVLatent", model=["theirs", 0], **size)}
    found, expected = graphs.run(graph, ("fitting", 0), ("empty", 0))
    shapes = [[member.shape for member in latent["samples"].unbind()] for latent in (found, expected)]
    assert shapes[0] == shapes[1]
    assert "openltx_generation" not in found
    assert "ComfyUI's LTXAV does not say of which generation it is" in caplog.text
