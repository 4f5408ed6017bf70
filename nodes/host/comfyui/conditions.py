"""What a sampling run of ComfyUI says beside the latent: shapes, masks, guides, frame rate (spec sampling.md 9.1)."""

# p prompts that run as one batch, b samples of the latent
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from einops import repeat
from torch import Tensor

from ....networks.transformer import Prepared
from ....samplers.community import CommunityStates, community_latent, community_states
from ....samplers.streams import Streams

VOICE = "ref_audio"
READ = ("frame_rate", "keyframe_idxs", "guide_attention_entries", VOICE)
REFUSED = {
    "control": "a ControlNet; use a control clip with Condition: Reference Video (LTX) or LTXVAddGuide",
    "gligen": "GLIGEN boxes, which this network does not know; remove them",
    "generated_keyframes": "generated keyframes; use Condition: Keyframe Slots (LTX) with Sample Stage (LTX)",
    "reference_latents": "reference latents; use LTXVAddGuide",
    "concat_latent_image": "an inpainting image for another kind of model; use a noise mask",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Conditions:
    """Everything but latent, sigma and text that a call of the network depends on; the same in a whole run.

    shapes: of the latents, batch first; noise_mask: of ComfyUI, expanded to them, absent: 1; options: entries of the
    CONDITIONING by their names in READ. Equal ones may run as one batch, whatever their texts are.
    """

    shapes: tuple[tuple[int, ...], ...]
    noise_mask: Streams[Tensor] = Streams()
    options: Mapping[str, Any] = field(default_factory=dict)
    prepared: dict[Any, Prepared] = field(default_factory=dict, repr=False)  # kept by the network
    _states: dict[Any, CommunityStates] = field(default_factory=dict, repr=False)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Conditions):
            return NotImplemented
        mine, theirs = ((c.shapes, c.noise_mask.video, c.noise_mask.audio, dict(c.options)) for c in (self, other))
        return _equal(mine, theirs)

    __hash__ = None  # type: ignore[assignment]  # it is compared by value

    @cached_property
    def voiceless(self) -> Conditions:
        """Without the reference voice, for the pass of LTXVReferenceAudio that amplifies it."""
        options = {name: value for name, value in self.options.items() if name != VOICE}
        return Conditions(shapes=self.shapes, noise_mask=self.noise_mask, options=options)

    def window(self, frames: Sequence[int], sound: Sequence[int] | None) -> Conditions:
        """Of a part of the time: latent frames of the picture, and of the sound. ValueError beside guide frames."""
        if self.options.get("keyframe_idxs") is not None:
            raise ValueError(
                "context windows: expected no guide frames, found some; use Sample Long Clip (LTX), which places them"
            )
        kept = {5: frames, 4: sound}
        shapes = tuple((*shape[:2], len(kept[len(shape)] or ()), *shape[3:]) for shape in self.shapes)
        masks = self.noise_mask.map(lambda mask: mask[:, :, list(kept[mask.ndim] or ())])
        return Conditions(shapes=shapes, noise_mask=masks, options=self.options)

    def states(self, batch: int, device: torch.device) -> CommunityStates:
        """Of a call with `batch` samples: positions, masks, attention strengths, given tokens; the latents are 0."""
        if (batch, device) not in self._states:
            times = batch // self.shapes[0][0]
            assert times * self.shapes[0][0] == batch, (batch, self.shapes)
            samples = streams_of([torch.zeros(batch, *shape[1:], device=device) for shape in self.shapes])
            masks = self.noise_mask.map(lambda mask: _repeated(mask, times))
            options = {name: _repeated_option(value, times, device) for name, value in self.options.items()}
            self._states[batch, device] = community_states(community_latent(samples, masks, options))
        return self._states[batch, device]


def conditions_of(entries: Mapping[str, Any], shapes: Sequence[Sequence[int]]) -> Conditions:
    """From the entries that ComfyUI hands to `extra_conds`; ValueError, by name, for what cannot take part here."""
    for name, what in REFUSED.items():
        if entries.get(name) is not None:
            raise ValueError(f"conditioning: expected nothing under '{name}', found {what}")
    masks: Streams[Tensor] = Streams()
    if entries.get("denoise_mask") is not None:
        unpacked = unpack(entries["denoise_mask"], shapes)
        masks = streams_of(unpacked).map(lambda mask: mask[:, :1])
    options = {name: entries[name] for name in READ if entries.get(name) is not None}
    return Conditions(shapes=tuple(tuple(shape) for shape in shapes), noise_mask=masks, options=options)


def streams_of(members: Sequence[Tensor]) -> Streams[Tensor]:
    """Video (B, C, F, H, W), audio (B, C, T, bins) or both, in this order; ValueError for anything else."""
    video = next((member for member in members if member.ndim == 5), None)
    audio = next((member for member in members if member.ndim == 4), None)
    found = Streams(video=video, audio=audio)
    if len(found.present()) != len(members):
        shapes = " and ".join(str(tuple(member.shape)) for member in members)
        raise ValueError(f"latent: expected a video latent, an audio latent or both, found {shapes}")
    return found


def unpack(packed: Tensor, shapes: Sequence[Sequence[int]]) -> list[Tensor]:
    """ComfyUI's packed form (B, 1, all numbers of a sample), or the one latent itself, as latents of these shapes."""
    if len(shapes) == 1:
        return [packed]
    sizes = [torch.Size(shape[1:]).numel() for shape in shapes]
    parts = torch.split(packed[:, 0], sizes, dim=1)
    return [part.reshape(len(packed), *shape[1:]) for part, shape in zip(parts, shapes, strict=True)]


def pack(members: Sequence[Tensor]) -> Tensor:
    """The inverse of `unpack`."""
    return members[0] if len(members) == 1 else torch.cat([member.flatten(1) for member in members], dim=1)[:, None]


def _repeated(value: Tensor, times: int) -> Tensor:
    return value if times == 1 or len(value) == 1 else repeat(value, "b ... -> (p b) ...", p=times)


def _repeated_option(value: Any, times: int, device: torch.device) -> Any:
    """Tensors go to the device, with an entry a sample, or one for all."""
    if isinstance(value, Tensor):
        return _repeated(value.to(device), times)
    if isinstance(value, Mapping):
        return {name: _repeated_option(entry, times, device) for name, entry in value.items()}
    return value


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one is other or (one.shape == other.shape and torch.equal(one, other.to(one.device)))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_equal(one[name], other[name]) for name in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(_equal(a, b) for a, b in zip(one, other, strict=True))
    return type(one) is type(other) and bool(one == other)
