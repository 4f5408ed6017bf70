"""The predictor: passes batched or one after the other are the same passes, and constants are made once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from openltx.networks.transformer import StreamConfig, Transformer, TransformerConfig
from openltx.nodes.predictor import Texts, kept_text_bytes, predictor
from openltx.plan.shares import keeps_text, passes_within
from openltx.samplers.attention_strength import AttentionStrength
from openltx.samplers.guidance import Guidance, Pass, plan_passes
from openltx.samplers.shapes import VideoGrid
from openltx.samplers.state import StreamState, fresh_state
from openltx.samplers.streams import Streams
from openltx.samplers.tokens import audio_positions, first_frame_marks, video_positions

GRID, AUDIO_TOKENS, BATCH = VideoGrid(2, 1, 2), 3, 2
ON, SKIPPED_VIDEO = Streams(video=True, audio=True), Streams(video=False, audio=True)


def _randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module", params=[False, True], ids=["2", "2.5"])
def transformer(request: pytest.FixtureRequest) -> Transformer:
    later: bool = request.param
    config = TransformerConfig(
        num_layers=2,
        num_heads=2,
        video=StreamConfig(width=24, in_channels=6, out_channels=6, max_pos=(20, 2048, 2048)),
        audio=StreamConfig(width=16, in_channels=5, out_channels=5, max_pos=(20,)),
        caption_channels=None if later else 10,
        text_modulation=later,
        prompt_embedder=later,
        gated_attention=later,
        keyframe_marker=later,
    )
    network = Transformer(config)
    for index, parameter in enumerate(network.parameters()):
        parameter.data = 0.2 * _randn(*parameter.shape, seed=index)
    return network.requires_grad_(False)


def _states() -> Streams[StreamState]:
    video, audio = _randn(BATCH, GRID.tokens, 6, seed=1), _randn(BATCH, AUDIO_TOKENS, 5, seed=2)
    strength = AttentionStrength(weights=torch.tensor([[1, 1, 1, 0.3]]), groups=torch.tensor([-1, -1, -1, 0]))
    state = fresh_state(video, video_positions(GRID, 24.0, batch=BATCH))
    return Streams(
        video=replace(state, attention=strength, keyframe_marks=first_frame_marks(GRID)),
        audio=fresh_state(audio, audio_positions(AUDIO_TOKENS)),
    )


def _texts(transformer: Transformer) -> Texts:
    def contexts(seed: int) -> Streams[Tensor]:
        config = transformer.config
        assert config.video is not None
        assert config.audio is not None
        widths = (config.caption_channels or stream.width for stream in (config.video, config.audio))
        return Streams(*(_randn(1, 4, width, seed=seed + width) for width in widths))

    return Texts(positive=contexts(0), negative=contexts(50))


def _passes(enabled: Streams[bool] = ON) -> list[Pass]:
    video = Guidance(cfg=3, stg=1, stg_blocks=frozenset({1}), modality=3)
    return plan_passes(Streams(video=video, audio=Guidance()), asking=ON, enabled=enabled, negative=ON)


def _run(
    transformer: Transformer, passes: list[Pass], at_once: int, states: Streams[StreamState] | None = None
) -> list[Streams[Tensor]]:
    states = states or _states()
    predict = predictor(transformer, _texts(transformer), states, at_once=at_once)
    latents = states.map(lambda state: state.latent)
    timesteps = states.map(lambda state: state.mask * 0.5)
    sigmas = states.map(lambda state: torch.full((BATCH,), 0.5))
    with torch.inference_mode():
        return list(predict(passes, latents, timesteps, sigmas))


@pytest.mark.parametrize("enabled", [ON, SKIPPED_VIDEO], ids=["both", "audio only"])
def test_batched_and_one_after_the_other_agree(transformer: Transformer, enabled: Streams[bool]) -> None:
    passes = _passes(enabled)
    assert len(passes) == 4
    single = _run(transformer, passes, 1)
    for at_once in (2, 3, 4):
        for one, other in zip(single, _run(transformer, passes, at_once), strict=True):
            for alone, batched in zip(one.present(), other.present(), strict=True):
                assert torch.allclose(alone, batched, atol=1e-5)


def test_every_pass_differs_from_the_conditioned_one(transformer: Transformer) -> None:
    conditioned, *others = _run(transformer, _passes(), 1)
    for other in others:
        for one, two in zip(conditioned.present(), other.present(), strict=True):
            assert float((one - two).abs().max()) > 1e-4


def test_a_stream_without_a_negative_text_reads_its_positive_one(transformer: Transformer) -> None:
    states, texts = _states(), _texts(transformer)
    latents = states.map(lambda state: state.latent)
    timesteps, sigmas = states.map(lambda state: state.mask), states.map(lambda state: torch.ones(BATCH))
    passes = plan_passes(
        Streams(video=Guidance(cfg=3), audio=Guidance()),
        asking=ON,
        enabled=ON,
        negative=Streams(video=True, audio=False),
    )
    results = []
    for negative in (texts.negative, Streams(video=texts.negative.video)):
        predict = predictor(transformer, replace(texts, negative=negative), states, at_once=2)
        with torch.inference_mode():
            results.append(predict(passes, latents, timesteps, sigmas)[1].present())
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


def test_one_stream_runs_alone(transformer: Transformer) -> None:
    audio = Streams[StreamState](audio=_states().audio)
    passes = plan_passes(
        Streams(audio=Guidance(cfg=7, stg=1, modality=3)),
        asking=Streams(audio=True),
        enabled=Streams(audio=True),
        negative=Streams(audio=True),
    )
    assert [a_pass.name for a_pass in passes] == ["conditioned", "unconditioned", "perturbed"]
    single, batched = _run(transformer, passes, 1, audio), _run(transformer, passes, 3, audio)
    for one, other in zip(single, batched, strict=True):
        assert one.video is None
        assert one.audio is not None
        assert other.audio is not None
        assert torch.allclose(one.audio, other.audio, atol=1e-5)


@pytest.mark.parametrize("at_once", [1, 4])
def test_attention_strengths_and_keyframe_marks_reach_the_network(transformer: Transformer, at_once: int) -> None:
    states = _states()
    assert states.video is not None
    conditioned = _run(transformer, _passes(), at_once, states)[0].video
    for change in ({"attention": None}, {"keyframe_marks": None}):
        without = Streams(video=replace(states.video, **change), audio=states.audio)  # type: ignore[arg-type]
        other = _run(transformer, _passes(), at_once, without)[0].video
        assert conditioned is not None
        assert other is not None
        reads = "attention" in change or transformer.config.keyframe_marker
        assert torch.equal(conditioned, other) is not reads


def test_strengths_of_many_tokens_are_never_a_whole_matrix(
    transformer: Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = _states()
    whole = _run(transformer, _passes(), 4, states)
    monkeypatch.setattr("openltx.nodes.predictor.DENSE_STRENGTHS", 0)
    monkeypatch.setattr("openltx.networks.attention.BIAS_ELEMENTS", 1)
    asked: list[slice | None] = []
    dense = AttentionStrength.dense

    def counted(self: AttentionStrength, rows: slice | None = None) -> Tensor:
        asked.append(rows)
        return dense(self, rows)

    monkeypatch.setattr(AttentionStrength, "dense", counted)
    for by_rows, expected in zip(_run(transformer, _passes(), 4, states), whole, strict=True):
        by_rows.map(lambda one, other: torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5), expected)
    assert asked
    assert all(rows is not None and rows.stop - rows.start == 1 for rows in asked)


def test_constants_are_made_once_a_text(transformer: Transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    prepare = Transformer.prepare

    def counted(self: Transformer, *args: object, **options: object) -> object:
        made.append(prepare(self, *args, **options))  # type: ignore[arg-type]
        return made[-1]

    monkeypatch.setattr(Transformer, "prepare", counted)
    states = _states()
    predict = predictor(transformer, _texts(transformer), states, at_once=1)
    latents = states.map(lambda state: state.latent)
    timesteps, sigmas = states.map(lambda state: state.mask), states.map(lambda state: torch.ones(BATCH))
    with torch.inference_mode():
        for _ in range(3):
            predict(_passes(), latents, timesteps, sigmas)
    assert len(made) == 2  # the positive texts and the negative ones
    streams = [stream for prepared in made for stream in vars(prepared).values()]
    held = [sum(x.nbytes for pair in (stream.text_cache or {}).values() for x in pair) for stream in streams]
    assert sum(held) == kept_text_bytes(transformer.config, transformer.dtype, states, texts=2, positions=4)
    assert bool(sum(held)) != transformer.config.text_modulation


def test_blocks_that_do_not_exist_are_refused(transformer: Transformer) -> None:
    passes = plan_passes(
        Streams(video=Guidance(stg=1, stg_blocks=frozenset({28})), audio=Guidance()),
        asking=ON,
        enabled=ON,
        negative=Streams(),
    )
    with pytest.raises(ValueError, match=r"blocks from 0 to 1, found \[28\]"):
        _run(transformer, passes, 2)


def test_batches_are_as_large_as_memory_allows(transformer: Transformer) -> None:
    assert [passes_within(memory, 10) for memory in (-50, 0, 9, 25, 1000)] == [1, 1, 1, 2, 4]
    assert [keeps_text(memory, 10) for memory in (-50, 99, 100)] == [False, False, True]
    with pytest.raises(ValueError, match="at_once"):
        _run(transformer, _passes(), 0)
