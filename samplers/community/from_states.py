"""States of a stage in ComfyUI's form, for a network that only ComfyUI runs: the inverse of `community_states`."""

# B batch, T tokens, N of them grid tokens, M appended ones, C features, F H W frames, rows, columns, g guide frames
from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from einops import rearrange
from torch import Tensor

from ..attention_strength import GRID
from ..conditioning import ReferenceAudio
from ..shapes import VideoGrid
from ..state import AudioLayout, StreamState, VideoLayout, audio_state
from ..streams import Streams
from ..tokens import patchify_audio, unpatchify_audio, unpatchify_video
from .containers import CommunityLatent, GuideAttention

EMPTY = -1.0  # mask of a cell that the network does not see
NEAR = 0.06  # seconds: sound that ends as near to the start becomes a reference voice, which ends a little before it


def community_of(states: Streams[StreamState]) -> CommunityLatent:
    """Appended video tokens become guide frames, filled up with empty cells; appended sound a reference voice.

    Sound right before the start stands up to 0.04 s earlier there. Raises ValueError for what this form cannot say:
    keyframe slots, several items of which one is seen weakly, sound appended elsewhere than before the start.
    """
    video = None if states.video is None else _Video(states.video)
    samples, masks, voice = Streams[Tensor](), Streams[Tensor](), None
    if states.audio is not None:
        audio, voice = _sound(states.audio)
        samples = Streams(audio=audio)
        masks = Streams(audio=rearrange(states.audio.mask[:, : audio.shape[2]], "b t 1 -> b 1 t 1"))
    if video is None:
        return CommunityLatent(samples=samples, noise_mask=masks, reference_audio=voice)
    return CommunityLatent(
        samples=Streams(video=video.frames(video.given, 0.0), audio=samples.audio),
        noise_mask=Streams(video=video.frames(video.state.mask, EMPTY), audio=masks.audio),
        keyframe_idxs=video.positions() if video.appended else None,
        frame_rate=video.layout.fps,
        guide_attention=video.attention(),
        reference_audio=voice,
    )


def community_options(latent: CommunityLatent) -> dict[str, Any]:
    """The entries of a CONDITIONING that belong to it; the inverse of `community_latent`."""
    options: dict[str, Any] = {"frame_rate": latent.frame_rate}
    if latent.keyframe_idxs is not None:
        options["keyframe_idxs"] = latent.keyframe_idxs
    if latent.guide_attention:
        options["guide_attention_entries"] = [_entry(guide) for guide in latent.guide_attention]
    if latent.reference_audio is not None:
        options["ref_audio"] = {"tokens": patchify_audio(latent.reference_audio)}
    return options


class _Video:
    def __init__(self, state: StreamState) -> None:
        if state.slots is not None:
            raise ValueError(
                "keyframe slots: expected none on ComfyUI's own model, found some; load its file with Load LTX Model"
            )
        assert isinstance(state.layout, VideoLayout)
        self.state, self.layout = state, state.layout
        grid = state.layout.grid
        self.cells, self.appended = grid.height * grid.width, state.latent.shape[1] - state.grid_tokens
        self.guide_frames = -(-self.appended // self.cells)
        self.padding = self.guide_frames * self.cells - self.appended

    @property
    def given(self) -> Tensor:
        """(B, T, C): what ComfyUI starts from and blends with are one."""
        return torch.where(self.state.mask == 1, self.state.latent, self.state.clean)

    def frames(self, tokens: Tensor, fill: float) -> Tensor:
        """(B, T, C) → (B, C, F + g, H, W)."""
        grid = self.layout.grid
        whole = VideoGrid(grid.frames + self.guide_frames, grid.height, grid.width)
        return unpatchify_video(F.pad(tokens, (0, 0, 0, self.padding), value=fill), whole)

    def positions(self) -> Tensor:
        """(1 or B, 3, M, 2): frames, pixels, pixels; empty cells stand at 0."""
        bounds = self.state.positions[:, :, self.layout.tokens :]
        scale = bounds.new_tensor([self.layout.fps, 1.0, 1.0])[:, None, None]
        return F.pad(bounds * scale, (0, 0, 0, self.padding))

    def attention(self) -> tuple[GuideAttention, ...]:
        """Tokens in a row that are seen alike are one entry."""
        strengths = self.state.attention
        if strengths is None:
            return ()
        weights, groups = strengths.weights[:, self.layout.tokens :], strengths.groups[self.layout.tokens :]
        assert GRID not in groups
        if bool((groups != groups[:1]).any()) or bool((weights != weights[:1]).any()):
            raise ValueError(
                "attention strength: expected a single conditioning item with guide frames on ComfyUI's own model, "
                "which lets them see each other, found several or different ones a sample; use one, or strength 1"
            )
        values, counts = (found.tolist() for found in torch.unique_consecutive(weights[0], return_counts=True))
        counts[-1] += self.padding
        return tuple(
            GuideAttention(tokens=count, strength=value, grid=VideoGrid(1, 1, count))
            for value, count in zip(values, counts, strict=True)
        )


def _sound(state: StreamState) -> tuple[Tensor, Tensor | None]:
    """The sound (B, C, T, bins) and the voice before it."""
    assert isinstance(state.layout, AudioLayout)
    n, channels = state.layout.tokens, state.layout.channels
    given = torch.where(state.mask == 1, state.latent, state.clean)
    sound = unpatchify_audio(given[:, :n], channels=channels)
    if given.shape[1] == n:
        return sound, None
    voice = unpatchify_audio(state.clean[:, n:], channels=channels)
    usual = ReferenceAudio(latent=voice).apply(audio_state(sound, rate=state.layout.rate))
    same_place = torch.allclose(usual.positions, state.positions, rtol=0.0, atol=NEAR)
    if not same_place or bool((state.mask[:, n:] != 0).any()):
        raise ValueError(
            "sound: expected one reference voice at strength 1 on ComfyUI's own model, found other appended sound; "
            "load its file with Load LTX Model"
        )
    return sound, voice


def _entry(guide: GuideAttention) -> dict[str, Any]:
    assert guide.grid is not None
    return {
        "pre_filter_count": guide.tokens,
        "strength": guide.strength,
        "pixel_mask": guide.mask,
        "latent_shape": list(guide.grid),
    }
