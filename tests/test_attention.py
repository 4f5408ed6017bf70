"""Attention on the CPU: the path for long sequences gives what torch's own kernel gives."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from openltx.networks import attention as module
from openltx.networks.attention import attention, attention_backend

QUERIES, KEYS, WIDTH = 130, 700, 24  # several pieces of queries, none of them full
BIASES = {
    "none": None,
    "a key": (1, 1, 1, KEYS),
    "a sample and key": (2, 1, 1, KEYS),
    "a query and key": (1, 1, QUERIES, KEYS),
    "all": (2, 3, QUERIES, KEYS),
}


def _inputs(dtype: torch.dtype, bias: tuple[int, ...] | None) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(5)
    shapes = [(2, 3, QUERIES, WIDTH), (2, 3, KEYS, WIDTH), (2, 3, KEYS, WIDTH), *([] if bias is None else [bias])]
    return tuple(torch.randn(shape, generator=generator).to(dtype) for shape in shapes)


@pytest.mark.parametrize("scale", [None, 1.0])
@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 2e-6), (torch.bfloat16, 5e-3)])
def test_long_sequences_agree_with_torch(
    dtype: torch.dtype, bound: float, bias: str, scale: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        pytest.skip("NOT TESTED: this torch has no oneDNN, so attention never takes the path")
    monkeypatch.setattr(module, "PIECE_SCORES", 64 * KEYS)
    q, k, v, *rest = _inputs(dtype, BIASES[bias])
    given = rest[0] if rest else None
    mask = None if given is None else given.double()
    exact = F.scaled_dot_product_attention(q.double(), k.double(), v.double(), attn_mask=mask, scale=scale)
    with torch.inference_mode():
        assert module._suits_onednn(q, k, v, given)
        found = attention(q, k, v, bias=given, scale=scale)
    assert found.dtype is dtype
    error = (found.double() - exact).square().mean().sqrt() / exact.square().mean().sqrt()
    assert float(error) < bound


@pytest.mark.parametrize("bias", ["a query and key", "all"])
def test_a_bias_in_rows_is_the_bias(bias: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BIAS_ELEMENTS", 2 * KEYS * 30)  # five pieces, the last one short
    q, k, v, whole = _inputs(torch.float32, BIASES[bias])
    found = attention(q, k, v, bias=lambda rows: whole[..., rows, :])
    torch.testing.assert_close(found, attention(q, k, v, bias=whole), atol=1e-5, rtol=1e-5)


def test_short_sequences_gradients_and_other_back_ends_keep_torchs_kernel() -> None:
    q, k, v = _inputs(torch.float32, None)
    assert not module._suits_onednn(q[:, :, :10], k, v, None)
    assert not module._suits_onednn(q, k[:, :, :100], v[:, :, :100], None)
    assert not module._suits_onednn(q.requires_grad_(), k, v, None)
    seen = []

    def other(*given: object) -> torch.Tensor:
        seen.append(given)
        return torch.zeros(1)

    with attention_backend(other):
        attention(q, k, v)
    assert len(seen) == 1
