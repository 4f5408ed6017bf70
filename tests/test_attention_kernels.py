"""Attention of other packages: taken after a trial, by name or by itself; what it cannot do, torch does."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend

from openltx import api
from openltx.model_loaders import attention_kernels
from openltx.model_loaders.attention_kernels import attention_kernel
from openltx.networks import attention as attention_module
from openltx.networks.attention import attention, attention_backend, backend_name, without_quadratic

CPU = torch.device("cpu")


class Fake(ModuleType):
    """A package with every kernel: counts its calls, and is wrong by `error`."""

    def __init__(self, error: float = 0.0) -> None:
        super().__init__("fake")
        self.error, self.calls = error, 0

    def flash_attn_func(self, q: Tensor, k: Tensor, v: Tensor, softmax_scale: float) -> tuple[Tensor, None]:
        self.calls += 1
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, scale=softmax_scale).transpose(1, 2) * (1 + self.error), None

    def sageattn(self, q: Tensor, k: Tensor, v: Tensor, tensor_layout: str, sm_scale: float) -> Tensor:
        self.calls += 1
        assert tensor_layout == "HND"
        return F.scaled_dot_product_attention(q, k, v, scale=sm_scale) * (1 + self.error)

    def sageattn3_blackwell(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self.calls += 1
        return F.scaled_dot_product_attention(q, k, v) * (1 + self.error)


@pytest.fixture(autouse=True)
def afresh() -> Iterator[None]:
    attention_kernel.cache_clear()
    yield
    attention_kernel.cache_clear()


def installed(monkeypatch: pytest.MonkeyPatch, capability: int, **packages: Fake) -> None:
    monkeypatch.setattr(attention_kernels, "_capability", lambda device: capability)
    for name, kernel in attention_kernels.KERNELS.items():
        monkeypatch.setitem(sys.modules, kernel.package, packages.get(name))  # None: cannot be imported


def drawn(tokens: int, keys: int, dtype: torch.dtype = torch.bfloat16) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, 2, count, 64, generator=generator).to(dtype) for count in (tokens, keys, keys)]


def test_a_cpu_has_none_of_them(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert attention_kernel("auto", CPU) is attention_kernel("auto", CPU)
    assert [record.getMessage() for record in caplog.records] == ["attention on cpu: torch"]
    with pytest.raises(ValueError, match=r"attention 'sage': cannot be used here \(made for CUDA devices") as error:
        attention_kernel("sage", CPU)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="expected one of auto, torch, flash3"):
        attention_kernel("fast", CPU)


@pytest.mark.parametrize(
    ("capability", "there", "taken"),
    [
        (9, ("flash3", "flash4", "sage"), "flash3"),
        (9, ("flash4", "flash2"), "flash4"),
        (10, ("flash3", "flash4"), "flash4"),
        (9, ("flash2", "sage"), "torch"),
        (8, ("flash2", "sage"), "torch"),
        (12, ("sage3",), "torch"),
    ],
)
def test_the_order_of_the_devices(
    capability: int, there: tuple[str, ...], taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch, capability, **{name: Fake() for name in there})
    with attention_backend(attention_kernel("auto", CPU)):
        assert backend_name() == taken


@pytest.mark.parametrize(
    ("name", "capability"), [("flash2", 8), ("flash3", 9), ("flash4", 10), ("sage", 8), ("sage3", 12)]
)
def test_a_kernel_gets_what_it_is_made_for(name: str, capability: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake()
    installed(monkeypatch, capability, **{name: fake})
    with attention_backend(attention_kernel(name, CPU)):
        assert fake.calls == 1  # the trial
        q, k, v = drawn(40, 1024)
        found = attention(q, k, v, scale=0.3)
        assert fake.calls == 2
        expected = F.scaled_dot_product_attention(q, k, v, scale=0.3)
        assert (found - expected).abs().max() < 0.02
        attention(q, k, v, bias=torch.zeros(1, 1, 40, 1024, dtype=torch.bfloat16))
        for inputs in (drawn(40, 100), drawn(40, 1024, torch.float32)):
            attention(*inputs)
        assert fake.calls == 2


def test_a_wrong_trial_is_not_taken(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    installed(monkeypatch, 9, flash3=Fake(error=0.05))
    with caplog.at_level(logging.INFO), attention_backend(attention_kernel("auto", CPU)):
        assert backend_name() == "torch"
    told = [record.getMessage() for record in caplog.records]
    assert told[0] == "attention: flash3 is not used on cpu: a trial was wrong by 0.05, allowed are 0.02"
    assert len(told) == 3
    with pytest.raises(ValueError, match="a trial was wrong by 0.05"):
        attention_kernel("flash3", CPU)


def test_a_name_that_cannot_run_ends_before_the_run(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match="attention 'flash2': cannot be used here"):
        api.run(prompt="a ball", output=tmp_path / "a.mp4", attention="flash2", device="cpu")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("biased", [False, True])
def test_no_kernel_holds_all_scores(biased: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = drawn(300, 200, torch.float32)
    bias = torch.randn(1, 1, 1, 200) if biased else None
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    assert torch.allclose(without_quadratic(q, k, v, bias, None), expected, atol=1e-6)
    rows, original = list[int](), F.scaled_dot_product_attention

    def counted(q: Tensor, *others: Any, **options: Any) -> Tensor:
        rows.append(q.shape[-2])
        return original(q, *others, **options)

    monkeypatch.setattr(attention_module, "LEAN", [SDPBackend.EFFICIENT_ATTENTION])  # none on a CPU
    monkeypatch.setattr(attention_module, "BIAS_ELEMENTS", 2 * 200 * 70)
    monkeypatch.setattr(F, "scaled_dot_product_attention", counted)
    found = without_quadratic(q, k, v, bias, None)
    assert rows == [300, 70, 70, 70, 70, 20]
    assert torch.allclose(found, expected, atol=1e-6)
