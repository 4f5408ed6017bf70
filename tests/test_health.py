"""A network that gives no numbers: exact attention is tried once, then the first layer to blame is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from openltx.networks.attention import attention, attention_backend, exact
from openltx.nodes import health
from openltx.nodes.conditioning import EncodePrompt
from openltx.nodes.host.standalone.settings import Settings, use
from openltx.nodes.latents import EmptyAVLatent, members
from openltx.nodes.load import INSIDE, LoadModel
from openltx.nodes.sample import Sample

SIGMAS = torch.tensor([1.0, 0.6, 0.3, 0.0])
BROKEN = "transformer_blocks.1.audio_attn1.to_v"


@pytest.fixture(scope="module")
def given() -> Any:
    model, text, _, _ = LoadModel.execute("openltx-tiny-2.3.safetensors", INSIDE, "float32").args
    return model, EncodePrompt.execute(text, "a ball").args[0], EmptyAVLatent.execute(model, 64, 64, 9, 24.0).args[0]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(health, "warn_user", lines.append)
    return lines


@torch.inference_mode()
def sampled(given: Any) -> list[Tensor]:
    model, positive, latent = given
    return members(Sample.execute(model, positive, latent, SIGMAS, 3, 1.0, 1.0, keep_after=-1).args[0]).present()


@pytest.fixture
def broken_weight(given: Any) -> Iterator[str]:
    weight = given[0].transformer.on(torch.device("cpu")).get_parameter(f"{BROKEN}.weight")
    before = weight.detach().clone()
    with torch.no_grad():
        weight[0, 0] = torch.nan
    yield BROKEN
    with torch.no_grad():
        weight.copy_(before)


def test_the_layer_is_named_and_the_last_good_latent_kept(
    given: Any, broken_weight: str, told: list[str], tmp_path: Path
) -> None:
    with use(Settings(output_folder=tmp_path, device="cpu")), pytest.raises(FloatingPointError) as error:
        sampled(given)
    text = str(error.value)
    assert text.startswith("step 1 of 3: the network gave NaN or infinity in the")
    assert f"; first in the layer {broken_weight} (Linear);" in text
    assert text.endswith(str(next(tmp_path.iterdir())))
    assert told == []
    network = given[0].transformer.on(torch.device("cpu"))
    assert not any(module._forward_hooks for module in network.modules())


def test_a_kernel_that_gives_no_numbers_is_left_for_the_exact_path(given: Any, told: list[str]) -> None:
    expected, calls = sampled(given), list[int]()

    def overflowing(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float | None) -> Tensor:
        calls.append(1)
        return exact(q, k, v, bias, scale) * (float("inf") if len(calls) > 9 else 1.0)

    with attention_backend(overflowing):
        found = sampled(given)
    assert len(calls) < 30, "the kernel was asked again after it had failed"
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(found, expected, strict=True))
    assert told == ["the network gave NaN or infinity with overflowing attention: this stage goes on with exact one"]


@pytest.mark.parametrize("rows", [1, 7, 2**24])
def test_exact_attention_is_the_formula(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr("openltx.networks.attention.BIAS_ELEMENTS", rows * 2 * 3 * 11)
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, length, 8, generator=generator) for length in (10, 11, 11))
    for bias in (None, torch.randn(1, 1, 10, 11, generator=generator), torch.randn(2, 1, 1, 11, generator=generator)):
        with attention_backend(exact):
            found = attention(q, k, v, bias=bias)
        assert torch.allclose(found, attention(q, k, v, bias=bias), atol=1e-5)
