"""The audio-video diffusion transformer of LTX-2, LTX-2.3 and LTX-2.5 (spec page transformer)."""

# B batch, T tokens, C latent features a token, S text tokens, D stream width, U distinct timesteps
from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..operations import Operations, torch_operations
from .attention import CaptionProjection
from .block import Block
from .config import PREFIXES, Modality, StreamConfig, TransformerConfig
from .inputs import Stream, check_streams, given_streams
from .masks import context_bias, strength_bias
from .modulation import AdaLayerNormSingle, Modulation, distinct_timesteps
from .perturbations import KeepTable, SamplePerturbations, check_perturbations
from .rope import rope_table
from .state import Call, OtherText, Prepared, PreparedStream, Step, StreamStep

CPU_CHUNK, DEVICE_CHUNK = 1024, 4096  # tokens of a feed-forward at once

# Of a stream: the embedder of its cross-modal scales and shifts, and that of the gate of what it receives.
CROSS_EMBEDDERS: dict[Modality, tuple[str, str]] = {
    "video": ("av_ca_video_scale_shift_adaln_single", "av_ca_a2v_gate_adaln_single"),
    "audio": ("av_ca_audio_scale_shift_adaln_single", "av_ca_v2a_gate_adaln_single"),
}


class Transformer(nn.Module):
    """Noisy tokens of video, audio or both -> velocities; parameters carry the published names."""

    shares_blocks = False  # whether several calls should go through each block together, because blocks come and go

    def __init__(self, config: TransformerConfig, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        self.config = config
        for name, stream in config.streams():
            self._add_stream(name, stream, operations)
        if config.keyframe_marker and config.video is not None:
            self.keyframes_abs_pos_embedding = nn.Parameter(torch.empty(1, config.video.width))
        self.transformer_blocks = nn.ModuleList(
            Block(config, index, operations=operations) for index in range(config.num_layers)
        )

    def _add_stream(self, name: Modality, stream: StreamConfig, operations: Operations) -> None:
        config, prefix, width = self.config, PREFIXES[name], stream.width
        embedders = {prefix + "adaln_single": config.modulation_rows}
        if config.prompt_embedder:
            embedders[prefix + "prompt_adaln_single"] = 2
        if config.both:
            embedders |= zip(CROSS_EMBEDDERS[name], (4, 1), strict=True)
        for embedder, rows in embedders.items():
            self.add_module(embedder, AdaLayerNormSingle(width, rows, operations=operations))
        if config.caption_channels is not None:
            projection = CaptionProjection(config.caption_channels, width, operations=operations)
            self.add_module(prefix + "caption_projection", projection)
        self.add_module(prefix + "patchify_proj", operations.Linear(stream.in_channels, width))
        self.add_module(prefix + "proj_out", operations.Linear(width, stream.out_channels))
        self.register_parameter(prefix + "scale_shift_table", nn.Parameter(torch.empty(2, width)))

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the first projection: what latents and contexts should be cast to."""
        name, _ = next(self.config.streams())
        weight: Tensor = self._linear(PREFIXES[name] + "patchify_proj").weight
        return weight.dtype

    def prepare(
        self, video: Stream | None = None, audio: Stream | None = None, *, cache_text: bool = False
    ) -> Prepared:
        """Everything that stays the same from step to step: rotary tables, projected text, biases, keyframe marks.

        It is made from positions, context and masks, in the dtype of the latents, and serves every call with the same
        ones. cache_text: also keep text keys and values of every block, filled by the first call (generation 2 only,
        ValueError for the others: their text follows sigma). Raises ValueError as `forward`.
        """
        check_streams(self.config, video, audio)
        if cache_text and self.config.text_modulation:
            raise ValueError("cache_text: only generation 2 has text keys that stay the same; leave it off")
        cross = video is not None and audio is not None
        prepared = {
            name: self._prepare_stream(name, stream, cross=cross, cache_text=cache_text)
            for name, stream in given_streams(video, audio)
        }
        return Prepared(video=prepared.get("video"), audio=prepared.get("audio"))

    def _prepare_stream(self, name: Modality, stream: Stream, *, cross: bool, cache_text: bool) -> PreparedStream:
        config, latent = self.config, stream.latent
        stream_config = config.stream(name)
        assert stream_config is not None
        other = None
        if stream.other_context is not None and stream.merge_texts is not None:
            other = OtherText(
                context=self._projected(name, stream.other_context),
                merge=stream.merge_texts,
                cache={} if cache_text else None,
            )
        keyframes = None
        if config.keyframe_marker and stream.keyframes_mask is not None:
            keyframes = (stream.keyframes_mask > 0).to(latent)
        positions = _shared(stream.positions)
        rope = rope_table(
            positions,
            width=stream_config.width,
            heads=config.num_heads,
            max_pos=stream_config.max_pos,
            rope=config.rope,
        )
        cross_rope = None
        if cross:
            assert config.video is not None
            assert config.audio is not None
            cross_rope = rope_table(
                positions[:, :1],  # time
                width=config.audio.width,
                heads=config.num_heads,
                max_pos=[max(config.video.max_pos[0], config.audio.max_pos[0])],
                rope=config.rope,
            ).to(latent)
        return PreparedStream(
            rope=rope.to(latent),
            cross_rope=cross_rope,
            context=self._projected(name, stream.context),
            context_bias=context_bias(stream.context_mask, latent.dtype),
            attention_bias=strength_bias(stream.attention_mask, latent.dtype),
            keyframes=keyframes,
            text_cache={} if cache_text else None,
            other=other,
        )

    def _projected(self, name: Modality, context: Tensor) -> Tensor:
        """Text (B, S, K) at the stream's width."""
        if self.config.caption_channels is None:
            return context
        return cast(Tensor, self.get_submodule(PREFIXES[name] + "caption_projection")(context))

    def forward(
        self,
        video: Stream | None = None,
        audio: Stream | None = None,
        *,
        prepared: Prepared | None = None,
        perturbations: SamplePerturbations | None = None,
        feed_forward_chunk: int | None = None,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Velocities (B, T, C) of video and audio, in the dtype of the latents; None for an absent stream.

        prepared: the result of `prepare` for streams with these positions, contexts and masks; None: made here.
        perturbations: for each sample, what it skips. feed_forward_chunk: tokens that a feed-forward takes at once,
        to save memory; None: 1024 on a CPU, 4096 elsewhere, all while gradients are recorded; 0: all.
        Raises ValueError, naming the argument, for wrong shapes, dtypes, missing streams.
        """
        call = Call(video=video, audio=audio, prepared=prepared, perturbations=perturbations)
        return self.forward_each([call], feed_forward_chunk=feed_forward_chunk)[0]

    def forward_each(
        self, calls: Sequence[Call], *, feed_forward_chunk: int | None = None
    ) -> list[tuple[Tensor | None, Tensor | None]]:
        """As `forward` for each call, but block by block: where blocks come and go, each comes once for all calls."""
        if feed_forward_chunk is not None and feed_forward_chunk < 0:
            raise ValueError(f"feed_forward_chunk: expected 0 (all tokens) or more, found {feed_forward_chunk}")
        steps = [self._checked_step(call, feed_forward_chunk) for call in calls]
        tokens = [
            (self._stem("video", call.video, step.video), self._stem("audio", call.audio, step.audio))
            for call, step in zip(calls, steps, strict=True)
        ]
        for block in self.transformer_blocks:
            with self._present(cast(Block, block)):
                for place, step in enumerate(steps):
                    tokens[place] = self._through(cast(Block, block), *tokens[place], step)
        return [
            (self._head("video", call.video, video, step.video), self._head("audio", call.audio, audio, step.audio))
            for call, (video, audio), step in zip(calls, tokens, steps, strict=True)
        ]

    def _checked_step(self, call: Call, feed_forward_chunk: int | None) -> Step:
        video, audio = call.video, call.audio
        check_streams(self.config, video, audio)
        batch = given_streams(video, audio)[0][1].latent.shape[0]
        check_perturbations(call.perturbations, batch=batch, num_layers=self.config.num_layers)
        prepared = call.prepared or self.prepare(video, audio)
        return self._step(video, audio, prepared, call.perturbations, feed_forward_chunk)

    def _present(self, block: Block) -> AbstractContextManager[object]:
        """Inside, the weights of a block are where it computes; for networks whose blocks come and go."""
        return nullcontext()

    def _through(
        self, block: Block, video: Tensor | None, audio: Tensor | None, step: Step
    ) -> tuple[Tensor | None, Tensor | None]:
        """Tokens (B, T, D) through one block; a host may put something of its own in a block's place."""
        return cast(tuple[Tensor | None, Tensor | None], block(video, audio, step))

    def _step(
        self,
        video: Stream | None,
        audio: Stream | None,
        prepared: Prepared,
        perturbations: SamplePerturbations | None,
        feed_forward_chunk: int | None,
    ) -> Step:
        # A stream without tokens is computed like an absent one.
        present = dict(item for item in given_streams(video, audio) if item[1].latent.shape[1] > 0)
        device = next(stream.latent.device for _, stream in given_streams(video, audio))
        return Step(
            video=self._stream_step("video", present, prepared.video),
            audio=self._stream_step("audio", present, prepared.audio),
            keep=KeepTable(perturbations, device=device),
            feed_forward_chunk=_usual_chunk(device) if feed_forward_chunk is None else feed_forward_chunk,
            in_place=not torch.is_grad_enabled(),
        )

    def _stream_step(
        self, name: Modality, present: dict[Modality, Stream], prepared: PreparedStream | None
    ) -> StreamStep | None:
        stream, other = present.get(name), present.get("audio" if name == "video" else "video")
        if stream is None:
            return None
        if prepared is None or (other is not None and prepared.cross_rope is None):
            raise ValueError(f"prepared: made without the streams of this call; prepare again with {sorted(present)}")
        prepared.check(name, stream)
        config, prefix, dtype = self.config, PREFIXES[name], stream.latent.dtype
        tokens = distinct_timesteps(stream.timesteps * config.timestep_scale)
        main, embedded = self._embedder(prefix + "adaln_single")(tokens.values, dtype)
        prompt = cross = cross_gate = None
        if config.prompt_embedder:
            prompt, _ = self._embedder(prefix + "prompt_adaln_single")(stream.sigma * config.timestep_scale, dtype)
        if other is not None:
            scale_shift, gate = (self._embedder(embedder) for embedder in CROSS_EMBEDDERS[name])
            cross, _ = scale_shift(tokens.values, dtype)
            ratio = config.gate_timestep_scale / config.timestep_scale
            cross_gate, _ = gate(other.sigma * config.timestep_scale * ratio, dtype)
        return StreamStep(
            prepared=prepared,
            enabled=stream.enabled,
            main=Modulation(values=main, index=tokens.index),
            head=Modulation(values=embedded[:, None], index=tokens.index),
            prompt=None if prompt is None else Modulation(values=prompt, index=None),
            cross=None if cross is None else Modulation(values=cross, index=tokens.index),
            cross_gate=None if cross_gate is None else Modulation(values=cross_gate, index=None),
        )

    def _stem(self, name: Modality, stream: Stream | None, step: StreamStep | None) -> Tensor | None:
        if stream is None or step is None:
            return None
        tokens: Tensor = self._linear(PREFIXES[name] + "patchify_proj")(stream.latent)
        if step.prepared.keyframes is not None:
            marker = self.keyframes_abs_pos_embedding.to(tokens)
            tokens = torch.addcmul(tokens, step.prepared.keyframes, marker)
        return tokens

    def _head(
        self, name: Modality, stream: Stream | None, tokens: Tensor | None, step: StreamStep | None
    ) -> Tensor | None:
        if stream is None:
            return None
        prefix, projection = PREFIXES[name], self._linear(PREFIXES[name] + "proj_out")
        if tokens is None or step is None:
            return stream.latent.new_empty((*stream.latent.shape[:2], projection.out_features))
        rows = step.head.plus(getattr(self, prefix + "scale_shift_table"))
        normed = F.layer_norm(tokens, (tokens.shape[-1],), eps=self.config.norm_eps)
        return cast(Tensor, projection(torch.addcmul(rows.row(0), normed, rows.scale(1))))

    def _linear(self, name: str) -> nn.Linear:
        return cast(nn.Linear, self.get_submodule(name))

    def _embedder(self, name: str) -> AdaLayerNormSingle:
        return cast(AdaLayerNormSingle, self.get_submodule(name))


def _usual_chunk(device: torch.device) -> int:
    """Tokens of a feed-forward at once: enough to keep the device busy, and a hidden layer of modest size."""
    if torch.is_grad_enabled():  # which keep every hidden layer anyway
        return 0
    return CPU_CHUNK if device.type == "cpu" else DEVICE_CHUNK


def _shared(positions: Tensor) -> Tensor:
    """One sample's positions where all samples have the same: their tables are as large as two layers of tokens."""
    alone = positions.shape[0] == 1  # asking the device would wait for it
    return positions[:1] if alone or bool((positions == positions[:1]).all()) else positions
