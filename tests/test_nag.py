"""Normalised attention guidance, against the formula of the paper (arXiv 2505.21179) written out token by token."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from openltx.networks.transformer import Stream, StreamConfig, Transformer, TransformerConfig
from openltx.networks.transformer.block import Block
from openltx.nodes.guide import NO_GUIDANCE, Guider, PresetGuider
from openltx.nodes.latents import EmptyAVLatent, members
from openltx.nodes.load import INSIDE, LoadModel
from openltx.nodes.negative_prompt import NegativePrompt
from openltx.nodes.noise import SeededNoise
from openltx.nodes.predictor import Texts, predictor
from openltx.nodes.rules import NamedRule
from openltx.nodes.sample import SampleStage
from openltx.samplers.guidance import Guidance, Nag, plan_passes
from openltx.samplers.guidance import nag as nag_module
from openltx.samplers.state import audio_state, video_state
from openltx.samplers.streams import Streams
from openltx.training.embedded_config import CONTEXT_WIDTH

ON = Streams(video=True, audio=True)
NONE: Streams[Nag] = Streams()
SIGMAS = torch.tensor([0.9, 0.5, 0.0])


def _randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def paper(positive: Tensor, negative: Tensor, scale: float, tau: float, alpha: float) -> Tensor:
    """Z (H, w) of one token: extrapolate, limit the L1 norm to tau times that of Z+, blend."""
    extrapolated = positive + scale * (positive - negative)
    ratio = float(extrapolated.abs().sum() / positive.abs().sum())
    normalised = extrapolated * (min(ratio, tau) / ratio)
    return alpha * normalised + (1 - alpha) * positive


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("scale", "tau", "alpha"), [(5.0, 2.5, 0.25), (11.0, 2.5, 0.5), (0.3, 1.0, 1.0), (4.0, 10.0, 0.1)]
)
def test_it_is_the_formula_of_the_paper(scale: float, tau: float, alpha: float, seed: int) -> None:
    positive, negative = _randn(2, 3, 6, 4, seed=seed).double(), _randn(2, 3, 6, 4, seed=seed + 50).double()
    got = Nag(scale=scale, limit=tau, share=alpha)(positive, negative)
    want = torch.empty_like(positive)
    for sample in range(2):
        for token in range(6):
            place = sample, slice(None), token
            want[place] = paper(positive[place], negative[place], scale, tau, alpha)
    assert torch.allclose(got, want, rtol=1e-6, atol=1e-6)  # lengths are float32


def test_many_tokens_are_merged_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    positive, negative = _randn(1, 2, 11, 4, seed=1), _randn(1, 2, 11, 4, seed=2)
    whole = Nag()(positive, negative)
    monkeypatch.setattr(nag_module, "PIECE", 3)
    assert torch.equal(Nag()(positive, negative), whole)


def test_neutral_values_and_equal_texts_change_no_bit() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        positive, negative = _randn(1, 2, 9, 8, seed=1).to(dtype), _randn(1, 2, 9, 8, seed=2).to(dtype)
        assert torch.equal(Nag()(positive, positive), positive)
        assert torch.equal(Nag(share=0.0)(positive, negative), positive)
        assert torch.allclose(Nag(scale=0.0, share=1.0)(positive, negative), positive)
        assert not torch.equal(Nag()(positive, negative), positive)
    silent = torch.zeros(1, 2, 3, 4)
    assert torch.equal(Nag()(silent, silent), silent)
    assert not Nag(scale=0.0).active
    assert not Nag(share=0.0).active


@pytest.mark.parametrize("bad", [{"scale": -1.0}, {"scale": float("nan")}, {"limit": 0.5}, {"share": 1.5}])
def test_impossible_values_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="NAG .*: expected a number from"):
        Nag(**bad)


@pytest.fixture(scope="module", params=[False, True], ids=["2", "2.3"])
def transformer(request: pytest.FixtureRequest) -> Transformer:
    later: bool = request.param
    config = TransformerConfig(
        num_layers=3,
        num_heads=2,
        video=StreamConfig(width=24, in_channels=6, out_channels=6, max_pos=(20, 2048, 2048)),
        audio=StreamConfig(width=16, in_channels=10, out_channels=10, max_pos=(20,)),
        caption_channels=None if later else 10,
        text_modulation=later,
        prompt_embedder=later,
        gated_attention=later,
        keyframe_marker=False,
    )
    network = Transformer(config)
    for index, parameter in enumerate(network.parameters()):
        parameter.data = 0.2 * _randn(*parameter.shape, seed=index)
    return network.requires_grad_(False)


STATES = Streams(video=video_state(_randn(1, 6, 2, 1, 2, seed=1), 24.0), audio=audio_state(_randn(1, 2, 4, 5, seed=2)))


def _texts(transformer: Transformer, nag: Streams[Nag] = NONE) -> Texts:
    def contexts(seed: int) -> Streams[Tensor]:
        config = transformer.config
        assert config.video is not None
        assert config.audio is not None
        widths = (config.caption_channels or stream.width for stream in (config.video, config.audio))
        return Streams(*(_randn(1, 4, width, seed=seed + width) for width in widths))

    return Texts(positive=contexts(0), negative=contexts(50), nag=nag)


def _predict(transformer: Transformer, texts: Texts, *, cfg: float = 1.0, at_once: int = 1) -> list[Streams[Tensor]]:
    guidance = Streams(video=Guidance(cfg=cfg), audio=Guidance(cfg=cfg))
    passes = plan_passes(guidance, asking=ON, enabled=ON, negative=ON)
    predict = predictor(transformer, texts, STATES, at_once=at_once)
    timesteps, sigmas = STATES.map(lambda state: state.mask * 0.5), STATES.map(lambda _: torch.full((1,), 0.5))
    with torch.inference_mode():
        return [*predict(passes, STATES.map(lambda state: state.latent), timesteps, sigmas)]


def test_the_network_merges_both_texts_in_the_text_attention_of_every_block(
    transformer: Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a network whose text attention is written out here."""
    nag = Streams(video=Nag(scale=3.0, share=0.5), audio=Nag(scale=8.0, limit=1.5, share=1.0))
    got = _predict(transformer, _texts(transformer, nag))[0]
    texts = _texts(transformer)

    def slow(self: Block, name: Any, query: Tensor, stream: Any) -> Tensor:
        own: Nag = getattr(nag, name)
        layer: Any = self.get_submodule(("" if name == "video" else "audio_") + "attn2")

        def attended(context: Tensor) -> Any:
            text = self._text(name, stream, context)
            q, k, v = layer.queries(query), layer.keys(text), layer.values(text)
            return torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, dim=-1) @ v

        negative = transformer._projected(name, getattr(texts.negative, name))
        p, n = attended(stream.prepared.context), attended(negative)
        made = torch.stack(
            [paper(p[0, :, t], n[0, :, t], own.scale, own.limit, own.share) for t in range(p.shape[2])], dim=1
        )
        output: Tensor = layer.output(made[None], layer.gates(query))
        return output

    monkeypatch.setattr(Block, "_text_attention", slow)
    want = _predict(transformer, texts)[0]
    for one, other in zip(got.present(), want.present(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_neutral_guidance_changes_no_bit_of_the_network_and_reads_one_text(
    transformer: Transformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = _predict(transformer, _texts(transformer))[0]
    monkeypatch.setattr(Nag, "__call__", None)  # is not called
    for nag in (Nag(scale=0.0), Nag(share=0.0)):
        got = _predict(transformer, _texts(transformer, Streams(video=nag, audio=nag)))[0]
        assert all(torch.equal(one, other) for one, other in zip(got.present(), plain.present(), strict=True))


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_pass_under_the_negative_text_stays_what_it_is(transformer: Transformer, at_once: int) -> None:
    nag = Streams(video=Nag(), audio=Nag())
    plain = _predict(transformer, _texts(transformer), cfg=3.0, at_once=at_once)
    got = _predict(transformer, _texts(transformer, nag), cfg=3.0, at_once=at_once)
    for one, other in zip(got[1].present(), plain[1].present(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    for one, other in zip(got[0].present(), plain[0].present(), strict=True):
        assert float((one - other).abs().max()) > 1e-4


def test_each_stream_has_its_own(transformer: Transformer) -> None:
    """In a network of one block the streams meet after their text attention: the last block's own output differs."""
    plain = _predict(transformer, _texts(transformer))[0]
    video_only = _predict(transformer, _texts(transformer, Streams(video=Nag())))[0]
    both = _predict(transformer, _texts(transformer, Streams(video=Nag(), audio=Nag())))[0]
    assert plain.audio is not None
    assert video_only.audio is not None
    assert both.audio is not None
    changed = (video_only.audio - plain.audio).abs().max(), (both.audio - plain.audio).abs().max()
    assert 0 < float(changed[0]) < float(changed[1])


def test_half_a_pair_is_refused(transformer: Transformer) -> None:
    state = STATES.audio
    assert state is not None
    context = _texts(transformer).positive.audio
    assert context is not None
    stream = Stream(
        latent=state.latent, sigma=torch.ones(1), timesteps=state.mask, positions=state.positions, context=context
    )
    with pytest.raises(ValueError, match=r"audio\.other_context, audio\.merge_texts: expected both or neither"):
        transformer.prepare(None, replace(stream, other_context=context))
    with pytest.raises(ValueError, match=r"audio\.other_context: expected \(1, S, "):
        transformer.prepare(None, replace(stream, other_context=context[..., :3], merge_texts=Nag()))


def test_a_stage_has_a_negative_prompt_without_a_pass_more(monkeypatch: pytest.MonkeyPatch) -> None:
    model = LoadModel.execute("openltx-tiny-2.3.safetensors", INSIDE, "float32").args[0]
    latent = EmptyAVLatent.execute(model, 64, 32, 9, 24.0).args[0]
    positive, negative = ([[_randn(1, 4, CONTEXT_WIDTH, seed=seed), {}]] for seed in (1, 2))
    guider = PresetGuider.execute(model, positive, "none").args[0]
    calls: list[int] = []
    forward = Transformer.forward

    def counting(self: Transformer, *arguments: Any, **options: Any) -> Any:
        calls.append(1)
        return forward(self, *arguments, **options)

    monkeypatch.setattr(Transformer, "forward", counting)

    def made(own: Guider) -> list[Tensor]:
        with torch.inference_mode():
            return members(
                SampleStage.execute(SeededNoise(1), own, NamedRule(name="euler"), SIGMAS, latent).args[0]
            ).present()

    plain = made(guider)
    nag = made(NegativePrompt.execute(guider, negative, 5.0, 5.0, 2.5, 0.25).args[0])
    off = made(NegativePrompt.execute(guider, negative, 0.0, 5.0, 2.5, 0.0).args[0])
    assert len(calls) == 3 * 2
    assert not any(torch.equal(one, other) for one, other in zip(nag, plain, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(off, plain, strict=True))
    assert guider.guidance == NO_GUIDANCE
