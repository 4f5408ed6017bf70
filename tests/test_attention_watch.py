"""Attention strengths of one layer, as a plain softmax gives them, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from openltx.networks.attention import attention_backend, current_backend
from openltx.networks.transformer import watch
from openltx.networks.transformer.watch import Looked, strengths
from openltx.nodes.attention_maps import AttentionMap, RecordAttention, ShowAttention, heat_colours, numbers
from openltx.nodes.conditioning import EncodePrompt
from openltx.nodes.guide import Guider
from openltx.nodes.host.standalone.settings import Settings, use
from openltx.nodes.intermediates import LoadIntermediates, SaveIntermediates
from openltx.nodes.latents import EmptyAVLatent, members
from openltx.nodes.load import INSIDE, LoadModel
from openltx.nodes.noise import SeededNoise
from openltx.nodes.rules import NamedRule
from openltx.nodes.stage import run_stage
from openltx.samplers.guidance import Guidance
from openltx.samplers.streams import Streams


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


Q, K = randn(2, 3, 10, 4), randn(2, 3, 7, 4, seed=1)
BIAS = randn(2, 1, 10, 7, seed=2)


def plain(bias: Tensor | None) -> Tensor:
    """(B, H, T, S)."""
    scores = torch.einsum("bhtd,bhsd->bhts", Q.double(), K.double()) / 2
    return (scores if bias is None else scores + bias.double()).softmax(dim=-1)


@pytest.mark.parametrize("piece", [7, 2**24])
@pytest.mark.parametrize("kind", ["none", "dense", "rows", "shared"])
@pytest.mark.parametrize("head", [None, 1])
def test_strengths(monkeypatch: pytest.MonkeyPatch, piece: int, kind: str, head: int | None) -> None:
    monkeypatch.setattr(watch, "PIECE", piece)
    biases: dict[str, Any] = {
        "none": None,
        "dense": BIAS,
        "rows": lambda rows: BIAS[:, :, rows],
        "shared": BIAS[:1, :, :1],
    }
    whole = plain({"rows": BIAS}.get(kind, biases[kind]))
    expected = whole.mean(dim=1) if head is None else whole[:, head]
    to = strengths(Q, K, biases[kind], Looked(name="text", block=0, tokens=(1, 5), head=head))
    assert torch.allclose(to.double(), expected[:, :, [1, 5]].sum(dim=-1), atol=1e-6)
    out = strengths(Q, K, biases[kind], Looked(name="picture", block=0, tokens=(2, 9), head=head))
    assert torch.allclose(out.double(), expected[:, [2, 9]].mean(dim=1), atol=1e-6)


def test_tokens_that_are_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match="tokens: expected numbers from 0 to 6, found 7"):
        strengths(Q, K, None, Looked(name="text", block=0, tokens=(7,)))
    with pytest.raises(ValueError, match="found none"):
        strengths(Q, K, None, Looked(name="text", block=0, tokens=()))


SIGMAS = torch.tensor([1.0, 0.6, 0.0])
CALLS = {"picture": 0, "text": 1, "picture to sound": 4, "sound to picture": 5}  # in a block, in their order


@pytest.fixture(scope="module")
def scene() -> Any:
    """A guider with text guidance, so that a step has two passes, and the latent to sample."""
    model, text, *_ = LoadModel.execute("openltx-tiny-2.3.safetensors", INSIDE, "float32").args
    positive, negative = (EncodePrompt.execute(text, words).args[0] for words in ("a red ball bounces", "blurry"))
    guidance = Streams(video=Guidance(cfg=3.0), audio=Guidance(cfg=3.0))
    guider = Guider(model=model, positive=positive, negative=negative, guidance=guidance)
    return guider, EmptyAVLatent.execute(model, 96, 64, 9, 24.0).args[0]


def sampled(scene: Any, model: Any) -> Any:
    guider, latent = scene
    own = replace(guider, model=model)
    return run_stage(SeededNoise(3), own, NamedRule(name="euler"), SIGMAS, latent)[0]


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("step", [1, -2])
def test_a_run_shows_what_a_plain_softmax_gives_and_does_not_change(scene: Any, name: Any, step: int) -> None:
    """Every attention of the run is written down by a back end, and the one that was asked for is compared."""
    model = scene[0].model
    watched, attention = RecordAttention.execute(model, 1, name, "2-4", step, -1).args
    calls: list[tuple[Tensor, Tensor, Tensor | None]] = []
    ours = current_backend()

    def kept(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float | None) -> Tensor:
        calls.append((q.clone(), k.clone(), bias))
        return ours(q, k, v, bias, scale)

    with attention_backend(kept):
        plain = sampled(scene, model)
    latent = sampled(scene, watched)
    for one, other in zip(members(plain).present(), members(latent).present(), strict=True):
        assert torch.equal(one, other)
    blocks, passes = model.config.num_layers, 2
    assert len(calls) == 6 * blocks * passes * 2
    q, k, bias = calls[(step % 2) * 6 * blocks * passes + 6 + CALLS[name]]
    weights = (q.double() @ k.double().mT * q.shape[-1] ** -0.5 + (0 if bias is None else bias.double())).softmax(-1)
    mean = weights.mean(dim=1)
    expected = mean[:, [2, 3, 4]].mean(dim=1) if name.startswith("picture") else mean[..., [2, 3, 4]].sum(dim=-1)
    found = ShowAttention.execute(attention, 0.5, latent=latent).args[2]
    assert found.values.shape == (1, 2, 2, 3)
    assert torch.allclose(found.values.flatten().double(), expected.flatten(), atol=1e-6)


def test_pictures_of_it(scene: Any) -> None:
    values = torch.zeros(1, 2, 2, 3)
    values[0, 1, 0, 2] = 0.25
    found = AttentionMap(values=values, told={})
    images, mask, _ = ShowAttention.execute(found, 0.5).args
    assert images.shape == (2, 64, 96, 3)
    assert mask.shape == (2, 64, 96)
    assert torch.allclose(images[1, 0, 95], heat_colours(torch.ones(1, 1, 1))[0, 0, 0])
    assert not images[0].any()
    grey = torch.full((9, 32, 48, 3), 0.5)
    over = ShowAttention.execute(found, 0.5, images=grey).args[0]
    assert over.shape == (2, 32, 48, 3)
    assert torch.allclose(over[0], torch.full((32, 48, 3), 0.25))
    with pytest.raises(ValueError, match="the decoded clip of 2 latent frames, found 3 pictures"):
        ShowAttention.execute(found, 0.5, images=grey[:3])


def test_what_is_not_there_is_named(scene: Any) -> None:
    model = scene[0].model
    assert numbers("0-2, 7") == (0, 1, 2, 7)
    for words in ("", "x", "3-", "-1"):
        with pytest.raises(ValueError, match="tokens: expected"):
            numbers(words)
    with pytest.raises(ValueError, match="block: expected 0 to"):
        RecordAttention.execute(model, 99, "text", "1", 0, -1)
    with pytest.raises(ValueError, match="head: expected 0 to"):
        RecordAttention.execute(model, 0, "text", "1", 0, 99)
    with pytest.raises(ValueError, match="expected a step below 2, found 5"):
        sampled(scene, RecordAttention.execute(model, 0, "text", "1", 5, -1).args[0])
    watched, attention = RecordAttention.execute(model, 0, "text", "1", 0, -1).args
    with pytest.raises(ValueError, match="expected a run of the marked model, found none"):
        ShowAttention.execute(attention, 0.5, latent=scene[1])
    with pytest.raises(ValueError, match="expected a map, found a recording"):
        SaveIntermediates.execute("x", attention=attention)
    assert watched.watch is attention


def test_it_is_kept_with_the_other_intermediates(scene: Any, tmp_path: Path) -> None:
    model = scene[0].model
    watched, attention = RecordAttention.execute(model, 0, "text", "1", 0, 1).args
    found = ShowAttention.execute(attention, 0.5, latent=sampled(scene, watched)).args[2]
    with use(Settings(output_folder=tmp_path, input_folder=tmp_path, device="cpu")):
        SaveIntermediates.execute("kept", attention=found)
        (file,) = tmp_path.glob("kept*.safetensors")
        loaded = LoadIntermediates.execute(file.name).args[4]
    assert torch.equal(loaded.values, found.values)
    assert loaded.told == found.told == {"attention": "text", "block": 0, "head": 1, "tokens": "1", "step": 0}
    shown = ShowAttention.execute(loaded, 0.5).args[0]
    assert torch.equal(shown, ShowAttention.execute(found, 0.5).args[0])
