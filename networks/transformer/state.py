"""What the blocks share: constants of a sampling run (prepared once) and of one call (made for each step)."""

# B batch, T tokens, S text tokens, H heads, w head width, D stream width, U distinct timesteps
from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..attention import BiasRows
from .config import Modality
from .inputs import MergeTexts, Stream
from .modulation import Modulation
from .perturbations import KeepTable, SamplePerturbations
from .rope import RopeTable

KeysValues = tuple[Tensor, Tensor]  # B H S w each
TextCache = dict[int, KeysValues]  # text keys and values by block, filled by the first step


@dataclass(frozen=True, kw_only=True)
class OtherText:
    """A second text, attended to by the same queries, and what makes one of both results."""

    context: Tensor  # B S D
    merge: MergeTexts
    cache: TextCache | None


@dataclass(frozen=True, kw_only=True)
class PreparedStream:
    """Everything of a stream that stays the same from step to step, in the model dtype."""

    rope: RopeTable
    cross_rope: RopeTable | None  # None: prepared without the other stream
    context: Tensor  # B S D
    context_bias: Tensor | None
    attention_bias: Tensor | BiasRows | None
    keyframes: Tensor | None  # B T 1 of 0 and 1
    text_cache: TextCache | None
    other: OtherText | None = None

    def check(self, name: Modality, stream: Stream) -> None:
        """ValueError when it was prepared for tokens of another number, batch or dtype."""
        found = (stream.latent.shape[0], stream.latent.shape[1], stream.latent.dtype)
        prepared = (self.context.shape[0], self.rope.cos.shape[-2], self.context.dtype)
        if found != prepared:
            raise ValueError(
                f"{name}.latent: expected the (batch, tokens, dtype) {prepared} of `prepared`, found {found}; "
                "prepare again for these streams"
            )


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The result of `Transformer.prepare`."""

    video: PreparedStream | None
    audio: PreparedStream | None


@dataclass(frozen=True, kw_only=True)
class Call:
    """The arguments of one call of the network."""

    video: Stream | None = None
    audio: Stream | None = None
    prepared: Prepared | None = None
    perturbations: SamplePerturbations | None = None


@dataclass(frozen=True, kw_only=True)
class StreamStep:
    """One stream in one call."""

    prepared: PreparedStream
    enabled: bool
    main: Modulation  # rows of self-attention, feed-forward and text attention
    head: Modulation  # 1 row
    prompt: Modulation | None  # 2 rows
    cross: Modulation | None  # 4 rows; None: no other stream
    cross_gate: Modulation | None  # 1 row


@dataclass(frozen=True, kw_only=True)
class Step:
    """One call, as every block sees it."""

    video: StreamStep | None
    audio: StreamStep | None
    keep: KeepTable
    feed_forward_chunk: int  # tokens; 0: all
    in_place: bool  # residuals may be added in place: nobody needs the former value
