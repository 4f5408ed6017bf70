"""What of a clip is given and what is generated, as the samplers' own states and conditioning items.

t2v: everything is noisy. i2v: the first latent frame is given. v2v (IC-LoRA): a reference is appended as given tokens
(spec page conditioning, section 4). The share `first_frame` gives the first frame to any of them now and then.
"""

# B batch, C latent channels, F H W latent cells, T audio latent frames, f latent bins, N tokens
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...networks.transformer import Stream
from ...samplers.conditioning import LatentReplacement, ReferenceFactors, ReferenceVideo, apply_items
from ...samplers.conditioning.items import ConditioningItem
from ...samplers.state import StreamState, audio_state, noised, video_state
from ...samplers.streams import Streams


@dataclass(frozen=True, kw_only=True)
class Latents:
    """Clean latents of a batch of clips: video (B, C, F, H, W), audio (B, C, T, f), reference (B, C, F, h, w)."""

    video: Tensor
    audio: Tensor | None = None
    reference: Tensor | None = None


def clean_states(
    clips: Latents, *, fps: float, first_frame: Tensor | None, factors: ReferenceFactors
) -> Streams[StreamState]:
    """States without noise. first_frame (B, C, 1, H, W): given in place of the first frame."""
    items: list[ConditioningItem] = []
    if first_frame is not None:
        items.append(LatentReplacement(latent=first_frame))
    if clips.reference is not None:
        items.append(ReferenceVideo(latent=clips.reference, factors=factors))
    return Streams(
        video=apply_items(video_state(clips.video, fps), items),
        audio=None if clips.audio is None else audio_state(clips.audio),
    )


def noisy_streams(
    states: Streams[StreamState], noises: Streams[Tensor], sigma: Tensor, contexts: Streams[Tensor], dtype: torch.dtype
) -> Streams[Stream]:
    """What the network is given at noise levels `sigma` (B,); noises (B, N, C) of the states' shapes."""

    def noisy(state: StreamState, noise: Tensor, context: Tensor) -> Stream:
        latent = noised(state, noise, sigma[:, None, None]).latent
        return stream_of(state, latent, state.mask * sigma[:, None, None], sigma, context, dtype)

    return states.map(noisy, noises, contexts)


def stream_of(
    state: StreamState, latent: Tensor, timesteps: Tensor, sigma: Tensor, context: Tensor, dtype: torch.dtype
) -> Stream:
    """latent (B, N, C), timesteps (B, N, 1), context (1 or B, S, D) as one stream of a call."""
    if bool((state.mask == 1).all()):
        timesteps = timesteps[:, :1]  # one level a sample: its modulation is computed once
    return Stream(
        latent=latent.to(dtype),
        sigma=sigma,
        timesteps=timesteps,
        positions=state.positions,
        context=context.to(latent.device, dtype).expand(len(latent), -1, -1),
        keyframes_mask=state.keyframe_marks,
    )


def moved(clips: Latents, device: torch.device) -> Latents:
    """In float32 on `device`."""

    def there(latent: Tensor | None) -> Tensor | None:
        return None if latent is None else latent.to(device, torch.float32)

    video = clips.video.to(device, torch.float32)
    return Latents(video=video, audio=there(clips.audio), reference=there(clips.reference))
