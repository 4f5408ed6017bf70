"""Audio encoder: log-mel → normalised latent (audio.md section 4.2)."""

# B batch, S 2 stereo channels, M mel frames, F mel bins, C latent channels, T latent frames, f latent bins
from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..operations import Operations, torch_operations
from .blocks import CausalConv2d, Downsample, Level, Middle, pixel_norm
from .config import STEREO, AudioVAEConfig
from .latents import PerChannelStatistics


class AudioEncoder(nn.Module):
    """State dict: the keys below `audio_vae.encoder.` and, with their own name, `per_channel_statistics.*`."""

    def __init__(self, config: AudioVAEConfig, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.conv_in = CausalConv2d(STEREO, config.channels, 3, operations=operations)
        self.down = nn.ModuleList()
        for i, width in enumerate(widths):
            level = Level(
                widths[i - 1] if i else config.channels,
                width,
                config.num_res_blocks,
                attend=i in config.attention_levels,
                operations=operations,
            )
            if i != len(widths) - 1:
                level.downsample = Downsample(width, operations=operations)
            self.down.append(level)
        self.mid = Middle(widths[-1], attend=config.mid_attention, operations=operations)
        self.conv_out = CausalConv2d(widths[-1], 2 * config.latent_channels, 3, operations=operations)
        self.per_channel_statistics = PerChannelStatistics(config.latent_channels, config.latent_bins)

    def forward(self, mel: Tensor) -> Tensor:
        """The mean of the posterior, normalised; nothing is sampled.

        mel (B, 2, M, F) float32, as `log_mel` makes it. Returns (B, C, ceil(M/4), F/4) float32.
        Raises ValueError for a mel of another shape.
        """
        if mel.ndim != 4 or mel.shape[1] != STEREO or mel.shape[3] != self.config.mel_bins or not mel.shape[2]:
            expected = f"(B, 2, frames, {self.config.mel_bins})"
            raise ValueError(f"audio encoder: expected a log-mel {expected}, found {tuple(mel.shape)}; see log_mel")
        x = self.conv_in(mel)  # B ch M F
        for level in self.down:
            x = level(x)
        x = self.mid(x)  # B 4ch T f
        mean, _log_variance = self.conv_out(F.silu(pixel_norm(x))).chunk(2, dim=1)
        return self.per_channel_statistics.normalize(mean)  # B C T f
