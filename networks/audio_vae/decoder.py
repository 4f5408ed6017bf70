"""Audio decoder: normalised latent → log-mel (audio.md section 4.3), whole or in exact pieces."""

# B batch, C latent channels, T latent frames, f latent bins, M mel frames, F mel bins
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..operations import Operations, torch_operations
from ..vocoder.chunks import even_step
from .blocks import CausalConv2d, Level, Middle, Upsample, pixel_norm
from .config import STEREO, AudioVAEConfig
from .latents import PerChannelStatistics, mel_frames

CHUNK_FRAMES = 500  # 20 s of latents


class AudioDecoder(nn.Module):
    """State dict: the keys below `audio_vae.decoder.` and, with their own name, `per_channel_statistics.*`."""

    def __init__(self, config: AudioVAEConfig, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.conv_in = CausalConv2d(config.latent_channels, widths[-1], 3, operations=operations)
        self.mid = Middle(widths[-1], attend=config.mid_attention, operations=operations)
        self.up = nn.ModuleList()
        for i, width in enumerate(widths):
            level = Level(
                widths[min(i + 1, len(widths) - 1)],
                width,
                config.num_res_blocks + 1,
                attend=i in config.attention_levels,
                operations=operations,
            )
            if i:
                level.upsample = Upsample(width, operations=operations)
            self.up.append(level)
        self.conv_out = CausalConv2d(widths[0], STEREO, 3, operations=operations)
        self.per_channel_statistics = PerChannelStatistics(config.latent_channels, config.latent_bins)

    def forward(self, latent: Tensor) -> Tensor:
        """latent (B, C, T, f) float32, normalised. Returns the log-mel (B, 2, 4T−3, 4f) float32.

        Raises ValueError for a latent of another shape.
        """
        channels, bins = self.config.latent_channels, self.config.latent_bins
        if latent.ndim != 4 or latent.shape[1] != channels or latent.shape[3] != bins or not latent.shape[2]:
            raise ValueError(
                f"audio decoder: expected a latent (B, {channels}, frames, {bins}), found {tuple(latent.shape)}; "
                "pass the audio part of a latent, as (B, C, T, f)"
            )
        x = self.conv_in(self.per_channel_statistics.denormalize(latent))  # B 4ch T f
        x = self.mid(x)
        for level in reversed(self.up):
            x = level(x)
        mel: Tensor = self.conv_out(F.silu(pixel_norm(x)))  # B 2 M F
        return mel

    @property
    def past_frames(self) -> int:
        """How many earlier latent frames, at most, a latent frame's mel depends on (34 as published)."""
        blocks = 4 * (self.config.num_res_blocks + 1)  # rows: two 3×3 convolutions a block
        rows = 2 + blocks
        for _ in self.config.widths[1:]:
            rows = (rows + 2) // 2 + 1 + blocks  # up-sampling convolution, doubling, and the blocks before it
        return rows + 8 + 2

    @property
    def attends(self) -> bool:
        return self.config.mid_attention or bool(self.config.attention_levels)


def decode_mel(decoder: AudioDecoder, latent: Tensor, *, chunk_frames: int = CHUNK_FRAMES) -> Tensor:
    """`decoder(latent)` in pieces of `chunk_frames` latent frames, so that memory does not grow with the length.

    The decoder is causal and sees `past_frames` back, so pieces with that much context give the same mel but for
    rounding. With attention (no published file) every frame sees every other: then it is decoded whole. A second of
    audio needs about 30 MB of activations at full size, a piece of 500 frames 0.7 GB.
    Raises ValueError for a chunk_frames below 1 and for a latent of another shape.
    """
    total = latent.shape[2] if latent.ndim == 4 else 0
    step = even_step(total, chunk_frames)
    if step >= total or decoder.attends:
        whole: Tensor = decoder(latent)
        return whole
    window, pieces = min(step + decoder.past_frames, total), []
    for start in range(0, total, step):
        stop = min(start + step, total)
        first = min(max(0, start - decoder.past_frames), total - window)
        mel = decoder(latent[:, :, first : first + window])  # its row 0 is row 4·first of the whole
        rows = slice((mel_frames(start) if start else 0) - 4 * first, mel_frames(stop) - 4 * first)
        pieces.append(mel[:, :, rows].clone())  # a view would hold what the window has more
    return torch.cat(pieces, dim=2)
