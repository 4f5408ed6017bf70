"""Scaled dot-product attention: the one place that chooses the back end."""

# B batch, H heads, T query tokens, S key tokens, d head width, R rows of a piece of queries
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

BiasRows = Callable[[slice], Tensor]  # a range of queries → their bias, broadcastable to (B, H, R, S)
AttentionBackend = Callable[[Tensor, Tensor, Tensor, "Tensor | None", "float | None"], Tensor]
Watcher = Callable[[Tensor, Tensor, "Tensor | BiasRows | None"], None]

# oneDNN pays from here on; measured on one core of a Zen 5
LEAST_QUERIES, LEAST_KEYS = 64, 512
BIAS_ELEMENTS = 2**24  # that are made at a time where a bias comes as rows
LONG = 4096  # tokens: beyond, all scores at once are too many
LEAN = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]
PIECE_SCORES = 2**19  # of one head at a time: 2 MiB, which stays in a core's share of the cache


def torch_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float | None) -> Tensor:
    """What torch does best here: its own kernel, but for long sequences on a CPU with oneDNN."""
    if _suits_onednn(q, k, v, bias):
        return _onednn(q, k, v, bias, scale)
    if q.device.type == "cuda" and q.shape[-2] * k.shape[-2] > LONG**2 and not torch.compiler.is_compiling():
        return without_quadratic(q, k, v, bias, scale)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)


def without_quadratic(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float | None) -> Tensor:
    """Never torch's plain fallback, which holds all scores at once (68 GB at 32 640 tokens): where no other kernel
    takes these tensors, some queries at a time, which is exact."""
    try:
        with sdpa_kernel(LEAN, set_priority=True):
            return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)
    except RuntimeError as error:
        if "kernel" not in str(error):  # "No available kernel": anything else is not ours
            raise
    return _by_queries(q, k, bias, lambda q, own: F.scaled_dot_product_attention(q, k, v, attn_mask=own, scale=scale))


def _by_queries(q: Tensor, k: Tensor, bias: Tensor | None, attend: Callable[[Tensor, Tensor | None], Tensor]) -> Tensor:
    """attend(queries, their bias) of all queries, as many at a time as scores are affordable."""
    rows = max(1, BIAS_ELEMENTS // (q.shape[0] * q.shape[1] * k.shape[-2]))
    whole = None if bias is None else bias.expand(*bias.shape[:-2], q.shape[-2], k.shape[-2])
    pieces = [slice(start, start + rows) for start in range(0, q.shape[-2], rows)]
    return torch.cat(
        [attend(q[..., piece, :], None if whole is None else whole[..., piece, :]) for piece in pieces], dim=-2
    )


def _suits_onednn(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> bool:
    long = q.shape[-2] >= LEAST_QUERIES and k.shape[-2] >= LEAST_KEYS
    if not long or q.device.type != "cpu" or q.dtype not in (torch.float32, torch.bfloat16):
        return False
    if torch.compiler.is_compiling() or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    inputs = [q, k, v] if bias is None else [q, k, v, bias]
    return not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs))


def _onednn(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float | None) -> Tensor:
    """One head after the other, some queries at a time, in float32 on oneDNN's products.

    On processors where MKL is slow (AMD) torch's kernel, which uses MKL, takes 1.7 times as long in float32 and
    twice as long in bfloat16. Scores and weights are not rounded to bfloat16: the error is below that of the kernel.
    """
    batch, heads, tokens, width = q.shape
    # the layout that torch's kernel gives too: merging the heads copies nothing
    out = q.new_empty(batch, tokens, heads, v.shape[-1]).transpose(1, 2)
    scale = width**-0.5 if scale is None else scale
    bias = None if bias is None else bias.expand(batch, heads, -1, -1)
    for sample in range(batch):
        for head in range(heads):
            place = sample, head
            _onednn_head(q[place], k[place], v[place], None if bias is None else bias[place], scale, out[place])
    return out


def _onednn_head(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float, out: Tensor) -> None:
    """q (T, d), k (S, d), v (S, d'), bias (1 or T, S) → out (T, d')."""
    keys, values = k.float().contiguous(), v.float().t().contiguous()  # weights of linear layers
    rows = max(LEAST_QUERIES, PIECE_SCORES // k.shape[0])
    shared = bias.float()[0].contiguous() if bias is not None and bias.shape[0] == 1 else None
    for start in range(0, q.shape[0], rows):
        piece = slice(start, start + rows)
        scores = F.linear((q[piece].float() * scale).to_mkldnn(), keys, shared)  # R S
        if bias is not None and shared is None:
            scores = (scores.to_dense() + bias[piece]).to_mkldnn()
        out[piece] = F.linear(scores.softmax(dim=-1), values).to_dense()


def exact(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float | None) -> Tensor:
    """The plain formula in float32, some queries at a time: slow, for where a kernel's result is no number."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    keys, values = k.float().transpose(-2, -1), v.float()

    def attended(q: Tensor, own: Tensor | None) -> Tensor:
        scores = (q.float() * scale) @ keys
        return ((scores if own is None else scores + own.float()).softmax(dim=-1) @ values).to(v.dtype)

    return _by_queries(q, k, bias, attended)


_backend: ContextVar[AttentionBackend] = ContextVar("attention_backend", default=torch_attention)


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    bias: Tensor | BiasRows | None = None,
    scale: float | None = None,
    watcher: Watcher | None = None,
) -> Tensor:
    """softmax(q k^T * scale + bias) v with the current back end.

    q (B, H, T, d); k, v (B, H, S, d); bias None or additive, broadcastable to (B, H, T, S), dtype of q;
    or a function that makes it for a range of queries, which are then attended piece by piece: a whole bias of long
    sequences is larger than everything else. scale None means d ** -0.5. watcher: is shown q, k and bias.
    Returns (B, H, T, d).
    """
    if watcher is not None:
        watcher(q, k, bias)
    if torch.compiler.is_compiling():  # the choice is made outside: a compiled graph cannot ask for it
        assert bias is None or isinstance(bias, Tensor)
        return torch_attention(q, k, v, bias, scale)
    if bias is None or isinstance(bias, Tensor):
        return _backend.get()(q, k, v, bias, scale)
    rows = max(1, BIAS_ELEMENTS // (q.shape[0] * k.shape[-2]))
    pieces = [slice(start, min(start + rows, q.shape[-2])) for start in range(0, q.shape[-2], rows)]
    return torch.cat([_backend.get()(q[..., piece, :], k, v, bias(piece), scale) for piece in pieces], dim=-2)


def current_backend() -> AttentionBackend:
    """What `attention` uses now, for a back end that only sometimes does better."""
    return _backend.get()


def backend_name() -> str:
    """The current back end by its function's name, for reports."""
    return str(getattr(_backend.get(), "__name__", "custom")).lstrip("_").removesuffix("_attention")


@contextmanager
def attention_backend(backend: AttentionBackend) -> Iterator[None]:
    """Use `backend` for every `attention` call inside the `with` block."""
    token = _backend.set(backend)
    try:
        yield
    finally:
        _backend.reset(token)
