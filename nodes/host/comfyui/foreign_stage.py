"""A stage of ours on ComfyUI's own network: our loop, items and guidance, its sampling around them.

ComfyUI prepares the model and hands it to its sampler; that sampler is our loop. What the loop asks of the network
goes through ComfyUI's own call of a model, so that LoRA, quantised weights, paging and patches act as ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import comfy.patcher_extension
import torch
from torch import Tensor

from ....model_loaders.parts import AUDIO_BINS, DiffusionModel
from ....samplers.community import CommunityLatent, community_of, community_options, community_states
from ....samplers.guidance import Pass
from ....samplers.state import StreamState
from ....samplers.streams import Streams
from ...contexts import Conditioning
from ...guide import Guider
from ...latents import joined
from ...stage import Run
from .conditions import pack, streams_of, unpack
from .guider import NativeGuider
from .network import HEARING
from .runtime import warn_user

MOVED = 1e-3  # seconds
RUNS = ("run_vx", "run_ax")  # in transformer_options: which streams ComfyUI's network computes


def denoised_by_host(
    patcher: Any, guider: Guider, states: Streams[StreamState], sigmas: Tensor, run: Run
) -> Streams[Tensor]:
    """The tokens that `run` denoises on the network of `patcher`. ValueError for items that it cannot be told of."""
    form = community_of(states)
    loop = _Loop(run, _Places(form, states, guider.model), negative=guider.negative is not None)
    native = NativeGuider(_told(guider, community_options(form)), patcher, loop.places.switches)
    _tell_of_idle(native)
    loop.places.tell_of_moved()
    latent, masks = loop.places.nested(form.samples, 0.0), loop.places.nested(form.noise_mask, 1.0)
    native.sample(latent * 0.0, latent, loop, sigmas, denoise_mask=masks, disable_pbar=True, seed=0)
    assert loop.denoised is not None
    return loop.denoised


class _Places:
    """Between the tokens that our loop sees and the packed latents of ComfyUI's network, which wants both streams."""

    def __init__(self, form: CommunityLatent, states: Streams[StreamState], model: DiffusionModel) -> None:
        self.states, self._community = states, community_states(form)
        like = form.samples.present()[0]
        video = like.new_zeros(len(like), model.video_channels, 1, 1, 1)
        audio = like.new_zeros(len(like), model.audio_channels, 1, AUDIO_BINS)
        self._absent = Streams(
            video=None if form.samples.video is not None else video,
            audio=None if form.samples.audio is not None else audio,
        )
        self._shapes = [member.shape for member in self._both(form.samples)]

    @property
    def switches(self) -> dict[str, Any]:
        """Options of a call in which the stream that is not there is not computed and not heard."""
        if not self._absent.present():
            return {}
        present = (self.states.video is not None, self.states.audio is not None)
        return dict(zip(RUNS, present, strict=True)) | dict.fromkeys(HEARING, False)

    def tell_of_moved(self) -> None:
        """A word where sound cannot stand exactly where it should."""
        asked, placed = self.states.audio, self._community.states.audio
        if asked is None or placed is None:
            return
        moved = float((asked.positions - placed.positions).abs().max())
        if moved > MOVED:
            warn_user(f"sound before the clip stands {moved:.2f} s elsewhere for ComfyUI's own model than for ours")

    def nested(self, members: Streams[Tensor], value: float) -> Any:
        """A LATENT's samples, or masks, of both streams."""
        filled = self._absent.map(lambda absent: absent[:, :1] if value else absent)
        both = self._both(members, filled.map(lambda absent: torch.full_like(absent, value)))
        return joined(Streams(video=both[0], audio=both[1]))

    def packed(self, tokens: Streams[Tensor]) -> Tensor:
        """ComfyUI's (B, 1, all numbers) of tokens (B, T, C)."""
        kept = self._community.kept
        if kept is not None and tokens.video is not None:
            whole = tokens.video.new_zeros(len(tokens.video), self._community.states.present()[0].latent.shape[1], 1)
            spread = whole.expand(-1, -1, tokens.video.shape[2]).index_copy(1, kept, tokens.video)
            tokens = Streams(video=spread, audio=tokens.audio)
        return pack(self._both(self._community.samples(tokens)))

    def tokens(self, packed: Tensor) -> Streams[Tensor]:
        """The inverse of `packed`; a reference voice, which is no part of the latent, is 0."""
        members = streams_of(unpack(packed, self._shapes))
        found = self._community.tokens(self.states.map(lambda _, member: member, members))
        kept = self._community.kept
        if kept is None or found.video is None:
            return found
        return Streams(video=found.video[:, kept], audio=found.audio)

    def _both(self, members: Streams[Tensor], absent: Streams[Tensor] | None = None) -> list[Tensor]:
        other = self._absent if absent is None else absent
        both = (
            other.video if members.video is None else members.video,
            other.audio if members.audio is None else members.audio,
        )
        return [member for member in both if member is not None]


class _Loop:
    """A SAMPLER: ComfyUI calls it with the model ready to be asked, and it runs our stage."""

    def __init__(self, run: Run, places: _Places, *, negative: bool) -> None:
        self.places = places
        self.denoised: Streams[Tensor] | None = None
        self._run, self._negative = run, negative

    def sample(
        self,
        guider: NativeGuider,
        sigmas: Tensor,
        extra_args: Mapping[str, Any],
        callback: Any,
        noise: Tensor,
        latent_image: Tensor,
        *others: Any,
    ) -> Tensor:
        """What it gives to ComfyUI is not read: the tokens are."""
        options, states = extra_args["model_options"], self.places.states

        def predict(
            passes: Sequence[Pass],
            latents: Streams[Tensor],
            timesteps: Streams[Tensor],
            sigmas: Streams[Tensor],
            /,
        ) -> list[Streams[Tensor]]:
            """Velocities; ComfyUI's call gives x - sigma velocity, and multiplies sigma by the masks itself."""
            sigma = _schedule_sigma(states, timesteps)
            x = self.places.packed(latents.map(lambda tokens: tokens.float()))
            found = guider.passes(passes, x, sigma * x.new_ones(len(x)), options)
            velocities = [self.places.tokens((x - found[a_pass.name]) / sigma) for a_pass in passes]
            return [velocity.map(lambda v, own: v.to(own), latents) for velocity in velocities]

        self.denoised = self._run(predict, states.map(lambda state: self._negative and not state.frozen))
        return latent_image


def _schedule_sigma(states: Streams[StreamState], timesteps: Streams[Tensor]) -> Tensor:
    """Of the schedule: tokens have their mask's share of it."""
    masks = [state.mask.amax() for state in states.present()]
    times = [own.amax() for own in timesteps.present()]
    mask, time = max(zip(masks, times, strict=True), key=lambda pair: float(pair[0]))
    return time / mask


def _told(guider: Guider, options: Mapping[str, Any]) -> Guider:
    def with_options(conditioning: Conditioning) -> Conditioning:
        return [[context, {**own, **options}] for context, own in conditioning]

    negative = None if guider.negative is None else with_options(guider.negative)
    return replace(guider, positive=with_options(guider.positive), negative=negative)


def _tell_of_idle(native: NativeGuider) -> None:
    """A word about patches that change a guided prediction of ComfyUI, which there is none of here."""
    idle = ["sampler_post_cfg_function"] if native.model_options.get("sampler_post_cfg_function") else []
    kind = comfy.patcher_extension.WrappersMP.PREDICT_NOISE
    if comfy.patcher_extension.get_all_wrappers(kind, native.model_options, is_model_options=True):
        idle.append(kind)
    if idle:
        warn_user(
            f"the model carries patches that act in ComfyUI's samplers only ({', '.join(idle)}): connect the guider "
            "to SamplerCustomAdvanced to use them"
        )
