"""ComfyUI's LATENT and conditioning entries as states, and back (spec sampling.md 9.1 and 9.5)."""

# B batch, C channels, F H W latent frames, rows, columns of the clip, g guide frames after it, N = F*H*W grid tokens,
# M = g*H*W guide tokens, T audio latent frames, r reference audio tokens
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F  # noqa: N812
from einops import rearrange, repeat
from torch import Tensor

from ..attention_strength import GRID, AttentionStrength
from ..conditioning import ReferenceAudio, mask_strength
from ..shapes import VideoGrid
from ..state import StreamState, VideoLayout, audio_state, video_state
from ..streams import Streams
from ..tokens import in_seconds, patchify_video, unpatchify_audio, unpatchify_video

FRAME_RATE = 25.0  # where the conditioning names none


@dataclass(frozen=True, kw_only=True, eq=False)
class GuideAttention:
    """How strongly the clip and one guide see each other.

    tokens: of the guide, empty cells included; strength: may exceed 1; mask: (1, 1, n, h, w) pixels in [0, 1], or None;
    grid: of the guide before its cells were spread.
    """

    tokens: int
    strength: float = 1.0
    mask: Tensor | None = None
    grid: VideoGrid | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class CommunityLatent:
    """What reaches a sampler in ComfyUI.

    video            (B, C, F + g, H, W), the g guide frames at the end; audio (B, 8, T, bins)
    noise_mask       (B, 1, F + g, H, W) or coarser, and (B, 1, T, 1) or coarser; absent: 1 everywhere. 1: denoise;
                     below 0: an empty cell of a guide, which the network does not see
    keyframe_idxs    (1 or B, 3, M, 2) [start, end) of guide tokens: frames, pixels, pixels
    guide_attention  of all guides in their order, or nothing: 1
    reference_audio  (B, 8, r, bins): ComfyUI puts it before the sound, at negative times; here it is appended, which
                     is the same to the network
    """

    samples: Streams[Tensor]
    noise_mask: Streams[Tensor] = Streams()
    keyframe_idxs: Tensor | None = None
    frame_rate: float = FRAME_RATE
    guide_attention: tuple[GuideAttention, ...] = ()
    reference_audio: Tensor | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class CommunityStates:
    """States of both streams, before noise.

    states  all tokens, empty guide cells too; masks may be below 0
    kept    indices (K,) int64 of the video tokens that the network sees; None: all
    grid    of the video with its guide frames
    """

    states: Streams[StreamState]
    kept: Tensor | None = None
    grid: VideoGrid | None = None

    @property
    def seen(self) -> Streams[StreamState]:
        """What the network sees: for the predictor."""
        video = self.states.video
        if video is None or self.kept is None:
            return self.states
        selected = replace(
            video,
            latent=video.latent[:, self.kept],
            clean=video.clean[:, self.kept],
            mask=video.mask[:, self.kept],
            positions=video.positions[:, :, self.kept],
            attention=None if video.attention is None else video.attention.select(self.kept),
            keyframe_marks=None if video.keyframe_marks is None else video.keyframe_marks[:, self.kept],
        )
        return Streams(video=selected, audio=self.states.audio)

    def tokens(self, samples: Streams[Tensor]) -> Streams[Tensor]:
        """Latents or noise in ComfyUI's layout as tokens of these states; reference audio gets zeros."""

        def audio(latent: Tensor) -> Tensor:
            tokens = rearrange(latent, "b c t bins -> b t (c bins)")
            assert self.states.audio is not None
            return F.pad(tokens, (0, 0, 0, self.states.audio.latent.shape[1] - tokens.shape[1]))

        return Streams(
            video=None if samples.video is None else patchify_video(samples.video),
            audio=None if samples.audio is None else audio(samples.audio),
        )

    def samples(self, tokens: Streams[Tensor]) -> Streams[Tensor]:
        """The inverse of `tokens`: guide frames stay, as ComfyUI's crop node takes them off; reference audio goes."""
        audio_latent = None
        if tokens.audio is not None:
            assert self.states.audio is not None
            layout = self.states.audio.layout
            assert layout is not None
            assert not isinstance(layout, VideoLayout)
            audio_latent = unpatchify_audio(tokens.audio[:, : layout.tokens], channels=layout.channels)
        video_latent = None
        if tokens.video is not None:
            assert self.grid is not None
            video_latent = unpatchify_video(tokens.video, self.grid)
        return Streams(video=video_latent, audio=audio_latent)


def community_states(latent: CommunityLatent) -> CommunityStates:
    """The states of a LATENT with its guides. ValueError where positions or attention entries do not fit it."""
    samples, masks = latent.samples, latent.noise_mask
    audio = None if samples.audio is None else _audio(samples.audio, masks.audio, latent.reference_audio)
    if samples.video is None:
        return CommunityStates(states=Streams(audio=audio))
    video = _video(samples.video, masks.video, latent)
    shown = (video.mask >= 0).all(dim=0)[:, 0]
    kept = None if bool(shown.all()) else shown.nonzero()[:, 0]
    if latent.guide_attention:
        video = replace(video, attention=_attention(latent.guide_attention, shown, video.grid_tokens))
    return CommunityStates(
        states=Streams(video=video, audio=audio), kept=kept, grid=VideoGrid(*samples.video.shape[2:])
    )


def dilate_guide(latent: Tensor, *, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """A small-grid reference (B, C, f, h, w) spread on the clip's grid, and its mask (1, 1, f, h·rows, w·columns).

    Between its cells are zeros; the mask is 1 on its cells and -1 between them.
    """
    batch, channels, f, h, w = latent.shape
    spread = latent.new_zeros(batch, channels, f, h * rows, w * columns)
    mask = torch.full((1, 1, f, h * rows, w * columns), -1.0)
    spread[..., ::rows, ::columns] = latent
    mask[..., ::rows, ::columns] = 1.0
    return spread, mask


def _video(samples: Tensor, noise_mask: Tensor | None, latent: CommunityLatent) -> StreamState:
    batch, _, frames, height, width = samples.shape
    guides = 0 if latent.keyframe_idxs is None else latent.keyframe_idxs.shape[2]
    guide_frames, rest = divmod(guides, height * width)
    if rest or guide_frames >= frames:
        raise ValueError(
            f"keyframe_idxs: expected positions for whole guide frames of {height}x{width} cells, fewer than the "
            f"latent's {frames} frames, found {guides}; crop the guides and add them again"
        )
    state = video_state(samples[:, :, : frames - guide_frames], latent.frame_rate)
    tokens = patchify_video(samples)
    positions, marks = state.positions, state.keyframe_marks
    if latent.keyframe_idxs is not None:
        extra = in_seconds(latent.keyframe_idxs, latent.frame_rate).to(positions)
        positions = torch.cat([positions.expand(len(extra), -1, -1, -1), extra], dim=2)
        assert marks is not None
        marks = F.pad(marks, (0, 0, 0, guides))
    mask = _resized(noise_mask, samples, batch)
    return replace(
        state,
        latent=tokens,
        clean=tokens,
        mask=rearrange(mask, "b 1 f h w -> b (f h w) 1"),
        positions=positions,
        keyframe_marks=marks,
    )


def _audio(samples: Tensor, noise_mask: Tensor | None, reference: Tensor | None) -> StreamState:
    state = audio_state(samples)
    mask = _resized(noise_mask, samples, len(samples))[..., :1]  # what the network is told: one number a latent frame
    state = replace(state, mask=rearrange(mask, "b 1 t 1 -> b t 1"))
    return state if reference is None else ReferenceAudio(latent=reference).apply(state)


def _resized(noise_mask: Tensor | None, samples: Tensor, batch: int) -> Tensor:
    """(B, 1, …) float32, the size of the latent; 1 where there is no mask."""
    if noise_mask is None:
        return torch.ones(batch, 1, *samples.shape[2:], device=samples.device)
    mask = noise_mask.to(samples.device, torch.float32)
    if mask.shape[2:] != samples.shape[2:]:
        mask = F.interpolate(mask, size=samples.shape[2:], mode="trilinear" if samples.ndim == 5 else "bilinear")
    return repeat(mask, "b ... -> (b n) ...", n=batch) if len(mask) == 1 else mask


def _attention(guides: Sequence[GuideAttention], shown: Tensor, grid_tokens: int) -> AttentionStrength:
    """Guides of ComfyUI see each other fully: they are one group, with weights of their own towards the grid."""
    expected = len(shown) - grid_tokens
    if sum(guide.tokens for guide in guides) != expected:
        raise ValueError(
            f"guide attention: expected entries for {expected} guide tokens, found {sum(g.tokens for g in guides)}; "
            "crop the guides and add them again"
        )
    weights, first = torch.ones(1, len(shown)), grid_tokens
    for guide in guides:
        inside = first + shown[first : first + guide.tokens].nonzero()[:, 0].cpu()
        weights[:, inside] = _weights(guide, len(inside))
        first += guide.tokens
    groups = torch.full((len(shown),), GRID, dtype=torch.int64)
    groups[grid_tokens:] = 0
    return AttentionStrength(weights=weights.to(shown.device), groups=groups.to(shown.device))


def _weights(guide: GuideAttention, tokens: int) -> Tensor:
    if guide.mask is None:
        return torch.full((1, tokens), guide.strength)
    if guide.grid is None or guide.grid.tokens != tokens:
        raise ValueError(f"guide attention: expected the grid of a masked guide of {tokens} tokens, found {guide.grid}")
    return mask_strength(guide.mask, guide.grid, guide.strength)
