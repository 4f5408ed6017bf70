"""Looking at one attention of a running transformer: a few numbers a token of it, nothing of the result changes."""

# B batch, H heads, T query tokens, S key tokens, R rows of a piece of queries
from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor

from ..attention import BiasRows
from .attention import Attention
from .config import TransformerConfig
from .model import Transformer

PIECE = 2**24  # strengths of all heads that are made at a time: 64 MiB
AttentionName = Literal["text", "picture", "sound to picture", "picture to sound"]
LAYERS: dict[AttentionName, str] = {
    "text": "attn2",
    "picture": "attn1",
    "sound to picture": "audio_to_video_attn",
    "picture to sound": "video_to_audio_attn",
}
"""Names of the layers in a block; the first three have the picture's tokens as queries, all but the text as keys."""


@dataclass(frozen=True, kw_only=True)
class Looked:
    """Which strengths: of `name` in block `block`, of one head or averaged over all (None), towards `tokens`.

    text, sound to picture: the share of each picture token's attention that goes to these tokens of the text or the
    sound. picture, picture to sound: where these tokens of the picture or the sound look in the picture.
    """

    name: AttentionName
    block: int
    tokens: tuple[int, ...]
    head: int | None = None

    @property
    def from_tokens(self) -> bool:
        """Whether the tokens are the queries."""
        return self.name in ("picture", "picture to sound")


class Watch:
    """What a model is asked to show in its next runs, and what it has shown in the last one.

    step: of the schedule, from 0; below 0: counted from the end. seen: float32 (B, picture tokens), on the CPU.
    """

    def __init__(self, looked: Looked, step: int) -> None:
        self.looked, self.step = looked, step
        self.due = False  # whether the call that comes next is the one
        self.seen: Tensor | None = None

    def __deepcopy__(self, memo: dict[int, object]) -> Watch:
        """The same: whoever copies a model with its options must not look elsewhere than whoever asked."""
        return self

    def check(self, config: TransformerConfig) -> None:
        """ValueError for a block, head or attention that a network of this kind has not."""
        looked, both = self.looked, config.both
        if not 0 <= looked.block < config.num_layers:
            raise ValueError(f"block: expected 0 to {config.num_layers - 1}, found {looked.block}; choose one of them")
        if looked.head is not None and not 0 <= looked.head < config.num_heads:
            raise ValueError(
                f"head: expected 0 to {config.num_heads - 1}, or -1 for all, found {looked.head}; choose one of them"
            )
        if not both and looked.name.count("sound"):
            raise ValueError(
                f"attention: expected one of the picture's own, found '{looked.name}'; this model is silent"
            )

    def is_due(self, step: int | None, steps: int) -> bool:
        """At this step of a run with so many. ValueError where the wanted one is beyond the run."""
        if not -steps <= self.step < steps:
            raise ValueError(f"attention: expected a step below {steps}, found {self.step}; choose one of the run's")
        return step is not None and step == self.step % steps

    @contextmanager
    def over(self, network: Transformer, samples: slice) -> Iterator[None]:
        """Inside, the network is called once with these samples."""
        with looking(network, self.looked, samples) as found:
            yield
        if found:
            self.seen = found[0].cpu()


@contextmanager
def looking(network: Transformer, looked: Looked, samples: slice) -> Iterator[list[Tensor]]:
    """Inside, the next such attention puts its strengths, float32 (samples, picture tokens), into the list.

    samples: of the batch. Raises ValueError for a token that is not there.
    """
    layer = _layer(network, looked)
    found: list[Tensor] = []

    def see(q: Tensor, k: Tensor, bias: Tensor | BiasRows | None) -> None:
        if not found:
            found.append(strengths(q[samples], k[samples], _of_samples(bias, samples), looked))

    layer.watcher = see
    try:
        yield found
    finally:
        layer.watcher = None


def strengths(q: Tensor, k: Tensor, bias: Tensor | BiasRows | None, looked: Looked) -> Tensor:
    """The softmax of an attention, a range of queries at a time, summed as `looked` says: (B, T) or (B, S).

    q (B, H, T, d), k (B, H, S, d), bias as in `attention`.
    """
    count = q.shape[2] if looked.from_tokens else k.shape[2]
    if not looked.tokens or not all(0 <= token < count for token in looked.tokens):
        raise ValueError(
            f"tokens: expected numbers from 0 to {count - 1}, found {_shown(looked.tokens)}; name tokens that are there"
        )
    chosen = torch.tensor(looked.tokens, device=q.device)
    queries = chosen if looked.from_tokens else torch.arange(q.shape[2], device=q.device)
    heads = slice(None) if looked.head is None else slice(looked.head, looked.head + 1)
    rows = max(1, PIECE // (k.shape[2] * q.shape[0] * q[:, heads].shape[1]))
    parts = []
    for piece in torch.split(queries, rows):
        weights = _softmax(q[:, heads].index_select(2, piece), k[:, heads], _rows_of(bias, piece, heads))
        parts.append(weights.sum(dim=1) if looked.from_tokens else weights[..., chosen].sum(dim=-1))
    if looked.from_tokens:
        return torch.stack(parts).sum(dim=0) / len(queries)
    return torch.cat(parts, dim=1)


def _softmax(q: Tensor, k: Tensor, bias: Tensor | None) -> Tensor:
    """Mean over heads, float32 (B, R, S)."""
    scores = q.float() @ k.float().transpose(-1, -2) * q.shape[-1] ** -0.5
    weights: Tensor = (scores if bias is None else scores + bias.float()).softmax(dim=-1)
    return weights.mean(dim=1)


def _rows_of(bias: Tensor | BiasRows | None, piece: Tensor, heads: slice) -> Tensor | None:
    """Of these queries, broadcastable to (B, H, R, S)."""
    if bias is None:
        return None
    if not isinstance(bias, Tensor):
        first, last = int(piece.min()), int(piece.max())
        return bias(slice(first, last + 1))[..., piece - first, :]
    rows = bias if bias.ndim < 2 or bias.shape[-2] == 1 else bias[..., piece, :]
    return rows[:, heads] if rows.ndim == 4 and rows.shape[1] > 1 else rows


def _of_samples(bias: Tensor | BiasRows | None, samples: slice) -> Tensor | BiasRows | None:
    if bias is None:
        return None
    if isinstance(bias, Tensor):
        return bias[samples] if bias.ndim == 4 and len(bias) > 1 else bias
    made = bias

    def rows(piece: slice) -> Tensor:
        found = made(piece)
        return found[samples] if found.ndim == 4 and len(found) > 1 else found

    return rows


def _layer(network: Transformer, looked: Looked) -> Attention:
    name = f"transformer_blocks.{looked.block}.{LAYERS[looked.name]}"
    return cast(Attention, network.get_submodule(name))


def _shown(tokens: Sequence[int]) -> str:
    return ", ".join(map(str, tokens)) or "none"
