"""A LATENT as the states that a stage denoises, and back: its items, and what ComfyUI's nodes say of it.

Read are `noise_mask` of the LATENT and, of the positive CONDITIONING, `frame_rate`, `keyframe_idxs`,
`guide_attention_entries` and `ref_audio` (spec sampling.md 9.1). Guide frames stay, for ComfyUI's crop node.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..model_loaders.parts import DiffusionModel
from ..samplers.community import CommunityStates, community_latent, community_states
from ..samplers.conditioning import KeyframeSlots, apply_items
from ..samplers.shapes import pixel_frames
from ..samplers.state import StageResult, StreamState, VideoLayout, audio_state, end_stage, video_state
from ..samplers.streams import Streams
from .contexts import Conditioning
from .generations import generation_of
from .latents import (
    FRAME_RATE,
    KEYFRAME_CLIP,
    KEYFRAMES,
    Items,
    Latent,
    items_of,
    joined,
    masks_of,
    members,
    refuse_other_duration,
    without_items,
)
from .noise import NoiseSource

GUIDED = ("keyframe_idxs", "ref_audio")


@dataclass(frozen=True, kw_only=True)
class Start:
    """states: before noise, items applied. guides: of a LATENT with guide frames or a reference voice of ComfyUI."""

    latent: Latent = field(repr=False)
    states: Streams[StreamState]
    rate: float | None
    guides: CommunityStates | None = None

    def noise(self, source: NoiseSource) -> Streams[Tensor]:
        """Start noise (B, T, C); with guide frames drawn as ComfyUI does, for the whole latent."""
        if self.guides is None or not hasattr(source, "generate_noise"):
            return source.start(self.states)
        drawn = members({"samples": source.generate_noise({"samples": self.latent["samples"]})})
        tokens = self.guides.tokens(drawn.map(lambda noise: noise.float().cpu()))
        return Streams(video=self._seen(tokens.video), audio=tokens.audio)

    def _seen(self, tokens: Tensor | None) -> Tensor | None:
        kept = None if self.guides is None else self.guides.kept
        return tokens if tokens is None or kept is None else tokens[:, kept.to(tokens.device)]

    def finished(self, denoised: Streams[Tensor]) -> tuple[Latent, Latent | None]:
        """The latent, its items used up, and the generated keyframes if it had slots for some."""
        rest = without_items(self.latent)
        if self.guides is not None:
            whole = self.guides.samples(self._spread(denoised))
            return {**rest, "samples": joined(whole.map(lambda member: member.float().cpu()))}, None
        results = denoised.map(lambda tokens, state: end_stage(replace(state, latent=tokens)), self.states)
        pair = results.map(lambda result: result.latent.float().cpu())
        return {**rest, "samples": joined(pair)}, self._keyframes(results.video)

    def _spread(self, denoised: Streams[Tensor]) -> Streams[Tensor]:
        """With the empty cells of spread guides, as they were."""
        assert self.guides is not None
        kept, video = self.guides.kept, self.guides.states.video
        if kept is None or video is None or denoised.video is None:
            return denoised
        whole = video.latent.to(denoised.video)
        return Streams(video=whole.index_copy(1, kept, denoised.video), audio=denoised.audio)

    def _keyframes(self, video: StageResult | None) -> Latent | None:
        if video is None or video.slots is None:
            return None
        slots = next(item for item in items_of(self.latent).video or () if isinstance(item, KeyframeSlots))
        return {
            **generation_of(self.latent),
            "samples": video.slots.float().cpu(),
            FRAME_RATE: self.rate,
            KEYFRAMES: list(slots.positions),
            KEYFRAME_CLIP: pixel_frames(video.latent.shape[2]),
        }


def start_of(latent: Latent, positive: Conditioning, model: DiffusionModel, device: torch.device) -> Start:
    """Raises ValueError where pieces contradict each other: rates, durations, guides beside items."""
    options: Mapping[str, Any] = positive[0][1]
    pair, masks, rate = members(latent), masks_of(latent), _rate(latent, options)
    pair = pair.map(lambda member: member.to(device, torch.float32))
    guided = any(options.get(name) is not None for name in GUIDED)
    items = items_of(latent)
    if guided and any(items.present()):
        raise ValueError(
            "latent: expected either guides of LTXVAddGuide and LTXVReferenceAudio or conditioning items of OpenLTX, "
            "found both; use one kind"
        )
    community = None
    if guided or masks.present():
        community = community_states(community_latent(pair, masks, {**options, "frame_rate": rate}))
        states = community.seen.map(_frozen_if_given)
    else:
        states = Streams(
            video=None if pair.video is None else video_state(pair.video, rate or 0.0),
            audio=None if pair.audio is None else audio_state(pair.audio),
        )
    _refuse_other_duration(states, rate)

    def apply(state: StreamState, own: Items | None) -> StreamState:
        return apply_items(state, own or (), slots_supported=model.config.keyframe_marker)

    return Start(latent=latent, states=states.map(apply, items), rate=rate, guides=community if guided else None)


def _frozen_if_given(state: StreamState) -> StreamState:
    return replace(state, frozen=not bool(state.mask.any()))


def _rate(latent: Latent, options: Mapping[str, Any]) -> float | None:
    """Frames a second, from the LATENT or the CONDITIONING; None only where there is no video."""
    named = [rate for rate in (latent.get(FRAME_RATE), options.get("frame_rate")) if rate is not None]
    if len({float(rate) for rate in named}) > 1:
        raise ValueError(
            f"frame rate: expected {named[0]:g} a second as in the latent, found {named[1]:g} in the conditioning; "
            "set both alike"
        )
    if not named and members(latent).video is not None:
        raise ValueError(
            "latent: it carries no frame rate; start from Empty AV Latent (LTX), or connect LTXVConditioning"
        )
    return float(named[0]) if named else None


def _refuse_other_duration(states: Streams[StreamState], rate: float | None) -> None:
    if states.video is None or states.audio is None:
        return
    assert isinstance(states.video.layout, VideoLayout)
    assert rate is not None
    refuse_other_duration(states.video.layout.frames, states.audio.grid_tokens, rate)
