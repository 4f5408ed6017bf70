"""Between the samplers, which ask for passes, and the transformer, which sees streams."""

# b samples, p passes, t tokens, c features, s text tokens
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import overload

import torch
from einops import rearrange, repeat
from torch import Tensor

from ..model_loaders.placement import Placement
from ..networks.transformer import (
    Call,
    Perturbation,
    PerturbationType,
    Prepared,
    Stream,
    Transformer,
    TransformerConfig,
)
from ..networks.transformer.state import PreparedStream
from ..samplers.denoiser import Predict
from ..samplers.guidance import Nag, Pass
from ..samplers.state import StreamState
from ..samplers.streams import Streams

ACTIVATIONS = 15  # vectors of the video's width that a token needs at once (spec memory.md section 2)
DENSE_STRENGTHS = 2**24  # self-attention strengths that are kept as a matrix
ISOLATED: tuple[PerturbationType, ...] = ("skip_a2v_cross_attn", "skip_v2a_cross_attn")


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Contexts (1 or B, S, D) of the streams; a stream without a negative one reads its positive one in every pass.

    nag: where a stream has it and a negative text, every pass under its positive text attends to both.
    """

    positive: Streams[Tensor]
    negative: Streams[Tensor] = Streams()
    nag: Streams[Nag] = Streams()


def predictor(
    transformer: Transformer,
    texts: Texts,
    states: Streams[StreamState],
    *,
    at_once: int = 1,
    chunk: int | None = None,
    keep_text: bool = True,
) -> Predict:
    """The velocity predictions of `transformer` for passes.

    states: positions, attention strengths and keyframe marks are read, latents and masks are not.
    at_once: passes that run as one batch, in their order, the whole batch repeated for each; 1: one after the other.
    chunk: tokens of a feed-forward at once. The results agree to rounding.
    What stays the same from step to step (rotary tables, attention biases, projected text, in generation 2 with
    keep_text its keys and values) is computed once and kept.
    """
    if at_once < 1:
        raise ValueError(f"at_once: expected at least 1 pass, found {at_once}")
    return _Predictor(transformer, texts, states, at_once, chunk, keep_text)


def placed_predictor(texts: Texts, states: Streams[StreamState]) -> Callable[[Transformer, Placement], Predict]:
    """A network and its placement → its predictions."""

    def made(transformer: Transformer, placement: Placement) -> Predict:
        at_once, chunk = placement.passes_at_once or 1, placement.feed_forward_chunk
        return predictor(transformer, texts, states, at_once=at_once, chunk=chunk, keep_text=placement.keep_text)

    return made


def activation_bytes(config: TransformerConfig, dtype: torch.dtype, tokens: int) -> int:
    """What one pass over `tokens` of both streams and all samples needs at once, beside weights and latents."""
    stream = config.video or config.audio
    assert stream is not None
    return ACTIVATIONS * stream.width * dtype.itemsize * tokens


def kept_text_bytes(
    config: TransformerConfig, dtype: torch.dtype, states: Streams[StreamState], texts: int, positions: int
) -> int:
    """Of the keys and values of every block, for `texts` texts of `positions` tokens; 0 where steps change them."""
    if config.text_modulation:
        return 0
    present = [(stream.width, getattr(states, name)) for name, stream in config.streams()]
    widths = sum(width * len(state.latent) for width, state in present if state is not None)
    return 2 * texts * positions * widths * config.num_layers * dtype.itemsize


class _Predictor:
    def __init__(
        self,
        transformer: Transformer,
        texts: Texts,
        states: Streams[StreamState],
        at_once: int,
        chunk: int | None,
        keep_text: bool,
    ) -> None:
        def to_model(context: Tensor, state: StreamState | None) -> Tensor:
            return context if state is None else context.to(state.latent.device, transformer.dtype)

        self._transformer, self._states, self._at_once, self._chunk = transformer, states, at_once, chunk
        self._positive = texts.positive.map(to_model, states)
        self._negative = texts.negative.map(to_model, states)
        self._nag = texts.nag.map(lambda nag: nag if nag.active else None)
        self._keeps_text = keep_text and not transformer.config.text_modulation
        self._prepared: dict[tuple[Streams[bool], ...], Prepared] = {}

    def __call__(
        self,
        passes: Sequence[Pass],
        latents: Streams[Tensor],
        timesteps: Streams[Tensor],
        sigmas: Streams[Tensor],
        /,
    ) -> list[Streams[Tensor]]:
        batches = [passes[start : start + self._at_once] for start in range(0, len(passes), self._at_once)]
        if self._transformer.shares_blocks and len(batches) > 1:
            calls = [self._call(batch, latents, timesteps, sigmas) for batch in batches]
            made = self._transformer.forward_each(calls, feed_forward_chunk=self._chunk)
            found = [Streams(video=video, audio=audio) for video, audio in made]
            return [part for both, batch in zip(found, batches, strict=True) for part in _split(both, len(batch))]
        velocities = []
        for batch in batches:
            call = self._call(batch, latents, timesteps, sigmas)
            video, audio = self._transformer(
                call.video,
                call.audio,
                prepared=call.prepared,
                perturbations=call.perturbations,
                feed_forward_chunk=self._chunk,
            )
            velocities += _split(Streams(video=video, audio=audio), len(batch))
        return velocities

    def _call(
        self, passes: Sequence[Pass], latents: Streams[Tensor], timesteps: Streams[Tensor], sigmas: Streams[Tensor]
    ) -> Call:
        enabled = passes[0].enabled
        assert all(a_pass.enabled == enabled for a_pass in passes)
        count = len(passes)

        def stream(
            latent: Tensor,
            timestep: Tensor,
            sigma: Tensor,
            context: Tensor,
            other: Tensor | None,
            nag: Nag | None,
            state: StreamState,
            is_enabled: bool,
        ) -> Stream:
            return Stream(
                latent=_repeated(latent.to(self._transformer.dtype), count),
                sigma=_repeated(sigma, count),
                timesteps=_repeated(timestep, count),
                positions=_shared_or_repeated(state.positions, count),
                context=context,
                other_context=other,
                merge_texts=None if other is None else nag,
                keyframes_mask=_shared_or_repeated(state.keyframe_marks, count),
                enabled=is_enabled,
            )

        contexts = latents.map(self._context, *self._texts(passes))
        others = self._others(passes, latents)
        streams = latents.map(stream, timesteps, sigmas, contexts, others, self._nag, self._states, enabled)
        return Call(
            video=streams.video,
            audio=streams.audio,
            prepared=self._prepare(passes, streams),
            perturbations=_perturbations(passes, len(latents.present()[0])),
        )

    def _texts(self, passes: Sequence[Pass]) -> list[Streams[Tensor]]:
        """The contexts of each pass."""

        def chosen(positive: Tensor, negative: Tensor | None, reads_positive: bool) -> Tensor:
            return positive if reads_positive or negative is None else negative

        return [self._positive.map(chosen, self._negative, a_pass.positive) for a_pass in passes]

    def _others(self, passes: Sequence[Pass], latents: Streams[Tensor]) -> Streams[Tensor]:
        """The negative text beside that of each pass; beside itself it changes nothing."""

        def other(latent: Tensor, negative: Tensor | None, nag: Nag | None, *reads_positive: bool) -> Tensor | None:
            if nag is None or negative is None or not any(reads_positive):
                return None
            return self._context(latent, *[negative] * len(passes))

        return latents.map(other, self._negative, self._nag, *[a_pass.positive for a_pass in passes])

    def _context(self, latent: Tensor, *contexts: Tensor) -> Tensor:
        """(p b) s d from one (1 or b, s, d) a pass."""
        expanded = [context.expand(len(latent), -1, -1) for context in contexts]
        return expanded[0] if len(expanded) == 1 else torch.cat(expanded)

    def _prepare(self, passes: Sequence[Pass], streams: Streams[Stream]) -> Prepared:
        key = tuple(a_pass.positive for a_pass in passes)
        if key not in self._prepared:
            whole = streams.map(with_strengths, self._states)
            prepared = self._transformer.prepare(whole.video, whole.audio, cache_text=self._keeps_text)
            like = next((other for texts, other in self._prepared.items() if len(texts) == len(key)), None)
            self._prepared[key] = prepared if like is None else _sharing_tables(prepared, like)
        return self._prepared[key]


def with_strengths(stream: Stream, state: StreamState) -> Stream:
    """Only `prepare` is given the strengths: as a matrix while it is small, else rows of it are made when needed."""
    strengths = state.attention
    if strengths is None:
        return stream
    count = len(stream.latent) // len(state.latent)
    if len(stream.latent) * state.latent.shape[1] ** 2 > DENSE_STRENGTHS:
        return replace(stream, attention_mask=lambda rows: _shared_or_repeated(strengths.dense(rows), count))
    return replace(stream, attention_mask=_shared_or_repeated(strengths.dense(), count))


def _sharing_tables(prepared: Prepared, other: Prepared) -> Prepared:
    """`prepared` with the tables and biases of `other`, which are large: only the texts differ."""

    def shared(own: PreparedStream | None, theirs: PreparedStream | None) -> PreparedStream | None:
        if own is None or theirs is None:
            return own
        return replace(own, rope=theirs.rope, cross_rope=theirs.cross_rope, attention_bias=theirs.attention_bias)

    return Prepared(video=shared(prepared.video, other.video), audio=shared(prepared.audio, other.audio))


def _perturbations(passes: Sequence[Pass], batch: int) -> list[list[Perturbation]] | None:
    """One list a sample, in the order of `_repeated`; None if nothing is perturbed."""
    of_passes = [perturbations_of(a_pass) for a_pass in passes]
    if not any(of_passes):
        return None
    return [perturbations for perturbations in of_passes for _ in range(batch)]


def perturbations_of(a_pass: Pass) -> list[Perturbation]:
    """What a sample of this pass skips."""
    skips = a_pass.skip_self_attention
    kinds: list[tuple[PerturbationType, frozenset[int] | str | None]] = [
        ("skip_video_self_attn", skips.video),
        ("skip_audio_self_attn", skips.audio),
    ]
    found = [
        Perturbation(type=kind, blocks=None if isinstance(blocks, str) else blocks)
        for kind, blocks in kinds
        if blocks is not None
    ]
    return found + [Perturbation(type=kind) for kind in ISOLATED if a_pass.isolated]


def _repeated(x: Tensor, count: int) -> Tensor:
    return x if count == 1 else repeat(x, "b ... -> (p b) ...", p=count)


@overload
def _shared_or_repeated(x: Tensor, count: int) -> Tensor: ...


@overload
def _shared_or_repeated(x: Tensor | None, count: int) -> Tensor | None: ...


def _shared_or_repeated(x: Tensor | None, count: int) -> Tensor | None:
    """Of one entry for all samples, that one; else an entry for each sample of each pass."""
    return x if x is None or len(x) == 1 else _repeated(x, count)


def _split(velocities: Streams[Tensor], count: int) -> list[Streams[Tensor]]:
    parts = velocities.map(lambda velocity: rearrange(velocity, "(p b) t c -> p b t c", p=count))
    return [parts.map(lambda part, index=index: part[index]) for index in range(count)]
