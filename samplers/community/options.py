"""The entries of ComfyUI's CONDITIONING that say something about a LATENT (spec sampling.md 9.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..shapes import VideoGrid
from ..streams import Streams
from ..tokens import unpatchify_audio
from .containers import FRAME_RATE, CommunityLatent, GuideAttention


def community_latent(
    samples: Streams[Tensor], noise_mask: Streams[Tensor], options: Mapping[str, Any]
) -> CommunityLatent:
    """A LATENT with the options of the positive CONDITIONING that belongs to it.

    Read are `keyframe_idxs`, `frame_rate` (25 where absent), `guide_attention_entries` and `ref_audio`. ValueError for
    reference audio beside a latent without sound.
    """
    reference = options.get("ref_audio")
    if reference is not None and samples.audio is None:
        raise ValueError("ref_audio: expected a latent with sound beside a reference voice, found video alone")
    return CommunityLatent(
        samples=samples,
        noise_mask=noise_mask,
        keyframe_idxs=options.get("keyframe_idxs"),
        frame_rate=float(options.get("frame_rate") or FRAME_RATE),
        guide_attention=tuple(_guide(entry) for entry in options.get("guide_attention_entries") or ()),
        reference_audio=None if reference is None else _reference(reference["tokens"], samples.audio),
    )


def _guide(entry: Mapping[str, Any]) -> GuideAttention:
    return GuideAttention(
        tokens=int(entry["pre_filter_count"]),
        strength=float(entry["strength"]),
        mask=entry.get("pixel_mask"),
        grid=VideoGrid(*entry["latent_shape"]),
    )


def _reference(tokens: Tensor, audio: Tensor | None) -> Tensor:
    assert audio is not None
    return unpatchify_audio(tokens, channels=audio.shape[1])
