"""The transformer as ComfyUI's samplers call it; our own call it as ever (comfyui_host.md 3.2)."""

# N samples of a call: p prompts times b of the latent; T tokens, S text tokens
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import comfy.patcher_extension
import torch
from torch import Tensor

from ....networks.attention import attention_backend
from ....networks.operations import Operations, torch_operations
from ....networks.transformer import (
    Perturbation,
    PerturbationType,
    Prepared,
    Stream,
    Transformer,
    TransformerConfig,
)
from ....networks.transformer.block import Block
from ....networks.transformer.state import Step
from ....networks.transformer.watch import Watch
from ....samplers.community import CommunityStates
from ....samplers.state import StreamState
from ....samplers.streams import Streams
from ...contexts import split_contexts
from ...predictor import ISOLATED, perturbations_of, with_strengths
from .attention import overridden
from .conditions import VOICE, Conditions, streams_of
from .runtime import warn_user

CONDITIONS = "openltx_conditions"  # an entry of `extra_conds`
PASS = "openltx_pass"  # in transformer_options: which pass of our guidance this call is
WATCH = "openltx_watch"  # in transformer_options: an attention that somebody looks at
BLOCKS = "stg_self_attn_blocks"  # in transformer_options, since 0.33: whose self-attention a call skips
HEARING = ("a2v_cross_attn", "v2a_cross_attn")  # False: not computed
SELF: tuple[PerturbationType, ...] = ("skip_video_self_attn", "skip_audio_self_attn")
COMPILE = "openltx_compile"  # an entry of `extra_conds`: arguments of torch.compile
Options = dict[str, Any]


class HostTransformer(Transformer):
    """Called with a `Stream` it is our transformer, called with latents it is ComfyUI's diffusion model."""

    def __init__(self, config: TransformerConfig, *, operations: Operations = torch_operations) -> None:
        super().__init__(config, operations=operations)
        self._current: Options = {}  # transformer_options of the call that is under way
        self._told: set[str] = set()
        self._compiled: tuple[Options, Any] | None = None  # a block's forward, and the arguments it was compiled with

    # TorchCompileModel asks for the whole network; one graph for all blocks is enough
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, *arguments: Any, **options: Any) -> Any:
        first = arguments[0] if arguments else None
        if first is None or isinstance(first, Stream):
            return super().forward(*arguments, **options)
        return self._of_host(*arguments, **options)

    def _of_host(
        self,
        x: Tensor | Sequence[Tensor],
        timestep: Tensor,
        context: Tensor | None = None,
        control: Any = None,
        transformer_options: Options | None = None,
        **extra: Any,
    ) -> Any:
        """Latents at sigma `timestep` (N,) → velocities, in the form of x: a tensor, or a list of two."""
        options = transformer_options or {}
        wrappers = comfy.patcher_extension.get_all_wrappers(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, options)
        executor = comfy.patcher_extension.WrapperExecutor.new_class_executor(self._velocities, self, wrappers)
        return executor.execute(x, timestep, context, control, options, **extra)

    def _velocities(
        self,
        x: Tensor | Sequence[Tensor],
        timestep: Tensor,
        context: Tensor | None,
        control: Any,
        options: Options,
        **extra: Any,
    ) -> Any:
        members = [x] if isinstance(x, Tensor) else list(x)
        conditions = extra.get(CONDITIONS) or Conditions(shapes=tuple(tuple(member.shape) for member in members))
        if VOICE not in extra and VOICE in conditions.options:
            conditions = conditions.voiceless
        if context is None:
            raise ValueError("conditioning: expected a text context, found none; connect an encoded prompt")
        self._tell_of_idle(options)
        self._compiled = self._compiled_for(extra.get(COMPILE), options)
        override = options.get("optimized_attention_override")
        with nullcontext() if override is None else attention_backend(overridden(override, options)):
            velocity = self._predicted(streams_of(members), timestep, context, conditions, options)
        present = velocity.present()
        return present[0] if len(members) == 1 else present

    def _tell_of_idle(self, options: Options) -> None:
        """A word, once for each kind, about patches that this network has no place for."""
        self.tell_of(_idle_patches(options))

    def tell_of(self, names: Iterable[str]) -> None:
        """Patches without effect, by their names."""
        idle = set(names) - self._told
        if idle:
            self._told |= idle
            warn_user(f"the model carries patches that have no effect on LTX-2 networks: {', '.join(sorted(idle))}")

    def _compiled_for(self, asked: Options | None, options: Options) -> tuple[Options, Any] | None:
        """A block's forward, compiled as asked; the same graph for all blocks, because their weights are inputs of it.

        None where nobody asks, and beside another attention, which a compiled graph does not call.
        """
        if asked is None or options.get("optimized_attention_override") is not None:
            return None
        if self._compiled is None or self._compiled[0] != asked:
            return asked, torch.compile(Block.forward, **asked)
        return self._compiled

    def _seen(self, options: Options) -> Any:
        """The block whose attention somebody looks at: it stays as it is."""
        watch: Watch | None = options.get(WATCH)
        return None if watch is None else self.transformer_blocks[watch.looked.block]

    @property
    def in_channels(self) -> int:
        """Read by patches that take a latent's channels apart."""
        return next(stream.in_channels for _, stream in self.config.streams())

    def _predicted(
        self, samples: Streams[Tensor], sigma: Tensor, context: Tensor, conditions: Conditions, options: Options
    ) -> Streams[Tensor]:
        latent = samples.present()[0]
        community = conditions.states(len(latent), latent.device)
        tokens = _with_reference(community.tokens(samples), community.states)
        texts = split_contexts(context, self.config, "conditioning")
        streams = _shown(tokens, community).map(_stream_maker(sigma), community.seen, texts, _enabled(options))
        self._current = options
        try:
            with _watching(self, options, sigma):
                velocities = super().forward(
                    streams.video,
                    streams.audio,
                    prepared=self._prepared_for(streams, community.seen, conditions, options),
                    perturbations=_perturbations(options, len(latent), self.config.num_layers),
                )
        finally:
            self._current = {}
        return community.samples(_spread(Streams(*velocities), tokens, community))

    def _prepared_for(
        self, streams: Streams[Stream], states: Streams[StreamState], conditions: Conditions, options: Options
    ) -> Prepared:
        """Kept from step to step where the text enters unchanged: a projection of it may have other weights next."""

        latent = streams.present()[0].latent
        key = (tuple(options.get("uuids") or ()), latent.shape, latent.dtype, latent.device)
        kept = conditions.prepared if key[0] and self.config.caption_channels is None else {}
        if key not in kept:
            asked = streams.map(with_strengths, states)
            kept[key] = self.prepare(asked.video, asked.audio)
        return kept[key]

    def _through(
        self, block: Block, video: Tensor | None, audio: Tensor | None, step: Step
    ) -> tuple[Tensor | None, Tensor | None]:
        """Somebody else's replacement of a block gets {"img": (video, audio)} and gives the same."""
        replacement = self._current.get("patches_replace", {}).get("dit", {}).get(("double_block", block.index))
        if replacement is None:
            if self._compiled is not None and block is not self._seen(self._current) and not _has_rows(step):
                found: tuple[Tensor | None, Tensor | None] = self._compiled[1](block, video, audio, step)
                return found
            return super()._through(block, video, audio, step)
        kept = replace(step, in_place=False)  # it may still need what went in

        def original(arguments: dict[str, Any]) -> dict[str, Any]:
            return {**arguments, "img": tuple(block(*arguments["img"], kept))}

        given = {"img": (video, audio), "transformer_options": self._current}
        video, audio = replacement(given, {"original_block": original})["img"]
        return video, audio


def _has_rows(step: Step) -> bool:
    """Whether a stream's attention strengths are made row by row, which a graph cannot do."""
    prepared = [stream.prepared for stream in (step.video, step.audio) if stream is not None]
    return any(callable(own.attention_bias) for own in prepared)


def _watching(network: Transformer, options: Options, sigma: Tensor) -> AbstractContextManager[None]:
    """Of a call under the positive text, in the step that is wanted, its samples are looked at."""
    watch: Watch | None = options.get(WATCH)
    texts, a_pass = list(options.get("cond_or_uncond") or [0]), options.get(PASS)
    other = bool(_asked(options, network.config.num_layers)) or (a_pass is not None and a_pass.name != "conditioned")
    if watch is None or 0 not in texts or other:
        return nullcontext()
    sigmas = options.get("sample_sigmas")
    steps = 1 if sigmas is None else len(sigmas) - 1
    if not watch.is_due(step_of(float(sigma.flatten()[0]), options), steps):
        return nullcontext()
    count = len(sigma) // len(texts)
    place = texts.index(0) * count
    return watch.over(network, slice(place, place + count))


def step_of(sigma: float, options: Options) -> int | None:
    """Index of the schedule's step, by transformer_options; None between two steps."""
    sigmas = options.get("sample_sigmas")
    values = [] if sigmas is None else sigmas.flatten().tolist()
    return values.index(sigma) if sigma in values else None


def _idle_patches(options: Options) -> Iterator[str]:
    yield from (name for name, found in options.get("patches", {}).items() if found)
    if options.get("rope_options"):
        yield "rope_options"
    for group, replaced in options.get("patches_replace", {}).items():
        yield from (f"{group} {key[0]}" for key in replaced if group != "dit" or key[0] != "double_block")


def _stream_maker(sigma: Tensor) -> Any:
    """The stream's sigma, which drives text modulation and gates, is its largest token's (spec sampling.md 9.3)."""

    def make(latent: Tensor, state: StreamState, context: Tensor, enabled: bool) -> Stream:
        timesteps = state.mask * sigma.float()[:, None, None]
        return Stream(
            latent=latent,
            sigma=timesteps.amax(dim=(1, 2)),
            timesteps=timesteps,
            positions=state.positions,
            context=context.to(latent),
            keyframes_mask=state.keyframe_marks,
            enabled=enabled,
        )

    return make


def _with_reference(tokens: Streams[Tensor], states: Streams[StreamState]) -> Streams[Tensor]:
    """Reference audio is no part of the latent: its tokens, after those of the sound, have their clean value."""
    if tokens.audio is None or states.audio is None:
        return tokens
    sound = states.audio.grid_tokens
    reference = states.audio.clean[:, sound:].to(tokens.audio)
    return Streams(video=tokens.video, audio=torch.cat([tokens.audio[:, :sound], reference], dim=1))


def _shown(tokens: Streams[Tensor], community: CommunityStates) -> Streams[Tensor]:
    if community.kept is None or tokens.video is None:
        return tokens
    return Streams(video=tokens.video[:, community.kept], audio=tokens.audio)


def _spread(velocity: Streams[Tensor], tokens: Streams[Tensor], community: CommunityStates) -> Streams[Tensor]:
    """Velocities of all tokens: 0 where the network sees none."""
    if community.kept is None or velocity.video is None or tokens.video is None:
        return velocity
    video = torch.zeros_like(tokens.video)
    video[:, community.kept] = velocity.video
    return Streams(video=video, audio=velocity.audio)


def _enabled(options: Options) -> Streams[bool]:
    """Streams that the pass of our guidance updates: all, but those that skip a step, or that somebody switched off."""
    a_pass = options.get(PASS)
    if a_pass is not None:
        return a_pass.enabled  # type: ignore[no-any-return]
    return Streams(video=options.get("run_vx", True), audio=options.get("run_ax", True))


def _perturbations(options: Options, count: int, blocks: int) -> Any:
    """What the pass of our guidance skips, and what ComfyUI's nodes ask of its own network of this kind to skip."""
    a_pass = options.get(PASS)
    found = _asked(options, blocks) + ([] if a_pass is None else perturbations_of(a_pass))
    return [found] * count if found else None


def _asked(options: Options, blocks: int) -> list[Perturbation]:
    """By the words of LTXVModalityGuidance and LTXVSpatioTemporalGuidance; blocks that there are not are left out."""
    skipped = frozenset(options.get(BLOCKS) or ()) & frozenset(range(blocks))
    of_blocks = [Perturbation(type=kind, blocks=skipped) for kind in SELF if skipped]
    cut = [Perturbation(type=kind) for word, kind in zip(HEARING, ISOLATED, strict=True) if options.get(word) is False]
    return of_blocks + cut
