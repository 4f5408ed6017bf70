"""One block of the audio-video transformer (spec page transformer, section 7)."""

# B batch, T tokens, S text tokens, D stream width
from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from ..attention import attention
from ..operations import Operations, torch_operations
from .attention import Attention, FeedForward
from .config import PREFIXES, Modality, StreamConfig, TransformerConfig
from .modulation import Modulation, normalise, table_modulation, token_pieces
from .perturbations import Keep, PerturbationType
from .state import KeysValues, Step, StreamStep, TextCache

SKIP_SELF: dict[Modality, PerturbationType] = {"video": "skip_video_self_attn", "audio": "skip_audio_self_attn"}


class Block(nn.Module):
    """Self-attention and text attention of each stream, attention between them, feed-forward of each."""

    def __init__(self, config: TransformerConfig, index: int, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        self.config = config
        self.index = index
        for name, stream in config.streams():
            self._add_stream(PREFIXES[name], stream, operations)
        if config.video is not None and config.audio is not None:
            self._add_cross(config.video.width, config.audio.width, operations)

    def _add_stream(self, prefix: str, stream: StreamConfig, operations: Operations) -> None:
        width, config = stream.width, self.config
        for name in ("attn1", "attn2"):
            self.add_module(prefix + name, self._attention(width, width, width, operations))
        self.add_module(prefix + "ff", FeedForward(width, bias=stream.feed_forward_bias, operations=operations))
        self._add_table(prefix + "scale_shift_table", config.modulation_rows, width)
        if config.text_modulation:
            self._add_table(prefix + "prompt_scale_shift_table", 2, width)

    def _add_cross(self, video_width: int, audio_width: int, operations: Operations) -> None:
        # Both directions work at the width of the audio.
        self.audio_to_video_attn = self._attention(video_width, audio_width, audio_width, operations)
        self.video_to_audio_attn = self._attention(audio_width, video_width, audio_width, operations)
        self._add_table("scale_shift_table_a2v_ca_video", 5, video_width)
        self._add_table("scale_shift_table_a2v_ca_audio", 5, audio_width)

    def _add_table(self, name: str, rows: int, width: int) -> None:
        self.register_parameter(name, nn.Parameter(torch.empty(rows, width)))

    def _attention(self, query: int, context: int, inner: int, operations: Operations) -> Attention:
        config = self.config
        return Attention(
            query,
            context,
            inner,
            heads=config.num_heads,
            gated=config.gated_attention,
            eps=config.norm_eps,
            operations=operations,
        )

    def forward(self, video: Tensor | None, audio: Tensor | None, step: Step) -> tuple[Tensor | None, Tensor | None]:
        """Tokens (B, T, D) of each stream, None where absent; with step.in_place the arguments are overwritten."""
        video_rows = self._rows("video", step.video)
        audio_rows = self._rows("audio", step.audio)
        if video is not None and video_rows is not None:
            video = self._self_and_text_attention("video", video, video_rows, step)
        if audio is not None and audio_rows is not None:
            audio = self._self_and_text_attention("audio", audio, audio_rows, step)
        if video is not None and audio is not None:
            video, audio = self._cross_attention(video, audio, step)
        if video is not None and video_rows is not None:
            video = self._feed_forward("video", video, video_rows, step)
        if audio is not None and audio_rows is not None:
            audio = self._feed_forward("audio", audio, audio_rows, step)
        return video, audio

    def _rows(self, name: Modality, stream: StreamStep | None) -> Modulation | None:
        """The main rows of a stream that this call updates."""
        if stream is None or not stream.enabled:
            return None
        return stream.main.plus(self._table(PREFIXES[name] + "scale_shift_table"))

    def _self_and_text_attention(self, name: Modality, x: Tensor, rows: Modulation, step: Step) -> Tensor:
        stream = step.video if name == "video" else step.audio
        assert stream is not None
        former = x
        update = self._layer(PREFIXES[name] + "attn1").within(
            lambda: normalise(former, self.config.norm_eps, rows, scale=1, shift=0),
            bias=stream.prepared.attention_bias,
            rope=stream.prepared.rope,
            keep=step.keep.keep(SKIP_SELF[name], self.index),
        )
        x = _add(x, update, rows.row(2), in_place=step.in_place)
        del update
        if not self.config.text_modulation:
            query = normalise(x, self.config.norm_eps)
            return _add(x, self._text_attention(name, query, stream), None, in_place=step.in_place)
        query = normalise(x, self.config.norm_eps, rows, scale=7, shift=6)
        return _add(x, self._text_attention(name, query, stream), rows.row(8), in_place=step.in_place)

    def _text_attention(self, name: Modality, query: Tensor, stream: StreamStep) -> Tensor:
        layer, prepared = self._layer(PREFIXES[name] + "attn2"), stream.prepared
        queries = layer.queries(query)
        keys, values = self._text_keys_values(name, stream, prepared.context, prepared.text_cache)
        attended = attention(queries, keys, values, bias=prepared.context_bias, watcher=layer.watcher)
        if prepared.other is not None:
            keys, values = self._text_keys_values(name, stream, prepared.other.context, prepared.other.cache)
            attended = prepared.other.merge(attended, attention(queries, keys, values))
        return layer.output(attended, layer.gates(query))

    def _text_keys_values(
        self, name: Modality, stream: StreamStep, context: Tensor, cache: TextCache | None
    ) -> KeysValues:
        if cache is not None and self.index in cache:
            return cache[self.index]
        layer, text = self._layer(PREFIXES[name] + "attn2"), self._text(name, stream, context)
        found = layer.keys(text), layer.values(text)
        if cache is not None:
            cache[self.index] = found
        return found

    def _text(self, name: Modality, stream: StreamStep, context: Tensor) -> Tensor:
        """The text as keys and values see it: modulated from 2.3 on, never normalised."""
        if not self.config.text_modulation:
            return context
        table = self._table(PREFIXES[name] + "prompt_scale_shift_table")
        rows = table_modulation(table, context) if stream.prompt is None else stream.prompt.plus(table)
        return torch.addcmul(rows.row(0), context, rows.scale(1))

    def _cross_attention(self, video: Tensor, audio: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """Both directions, from the same tokens: the second does not see what the first one added."""
        assert step.video is not None
        assert step.audio is not None
        to_video = self._keep_cross("skip_a2v_cross_attn", step.video, step)
        to_audio = self._keep_cross("skip_v2a_cross_attn", step.audio, step)
        if to_video is False and to_audio is False:
            return video, audio
        video_rows, video_gate = self._cross_rows("scale_shift_table_a2v_ca_video", step.video)
        audio_rows, audio_gate = self._cross_rows("scale_shift_table_a2v_ca_audio", step.audio)
        eps, for_audio, for_video = self.config.norm_eps, None, None
        if to_audio is not False:  # first: what it gives is small
            for_audio = self.video_to_audio_attn(
                normalise(audio, eps, audio_rows, scale=2, shift=3),
                normalise(video, eps, video_rows, scale=2, shift=3),
                rope=step.audio.prepared.cross_rope,
                context_rope=step.video.prepared.cross_rope,
            )
        if to_video is not False:
            for_video = self.audio_to_video_attn(
                normalise(video, eps, video_rows, scale=0, shift=1),
                normalise(audio, eps, audio_rows, scale=0, shift=1),
                rope=step.video.prepared.cross_rope,
                context_rope=step.audio.prepared.cross_rope,
            )
        if for_audio is not None:
            audio = _add(audio, for_audio, audio_gate.row(0) * to_audio, in_place=step.in_place)
        if for_video is not None:
            video = _add(video, for_video, video_gate.row(0) * to_video, in_place=step.in_place)
        return video, audio

    def _keep_cross(self, kind: PerturbationType, target: StreamStep, step: Step) -> Keep:
        return step.keep.keep(kind, self.index) if target.enabled else False

    def _cross_rows(self, table_name: str, stream: StreamStep) -> tuple[Modulation, Modulation]:
        """Four rows that follow the tokens' own timesteps and the gate that follows the other stream's sigma."""
        assert stream.cross is not None
        assert stream.cross_gate is not None
        table = self._table(table_name)
        return stream.cross.plus(table[:4]), stream.cross_gate.plus(table[4:])

    def _feed_forward(self, name: Modality, x: Tensor, rows: Modulation, step: Step) -> Tensor:
        """In chunks of tokens: the hidden layer, four times as wide, is the largest tensor of a block."""
        layer = cast(FeedForward, self.get_submodule(PREFIXES[name] + "ff"))
        parts = []
        for tokens in token_pieces(x.shape[1], step.feed_forward_chunk or x.shape[1]):
            part = x[:, tokens]
            normed = normalise(part, self.config.norm_eps)
            update = layer(torch.addcmul(rows.row(3, tokens), normed, rows.scale(4, tokens)))
            parts.append(_add(part, update, rows.row(5, tokens), in_place=step.in_place))
        if step.in_place:
            return x
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _layer(self, name: str) -> Attention:
        return cast(Attention, self.get_submodule(name))

    def _table(self, name: str) -> Tensor:
        return cast(Tensor, getattr(self, name))  # not get_parameter: a host may put a plain tensor there


def _add(x: Tensor, update: Tensor, gate: Tensor | None, *, in_place: bool) -> Tensor:
    """x + update * gate."""
    if gate is None:
        return x.add_(update) if in_place else x + update
    return x.addcmul_(update, gate) if in_place else torch.addcmul(x, update, gate)
