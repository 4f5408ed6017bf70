"""Vocoder of generations 2.3 and 2.5: a 16 kHz generator and a second one that extends its band (audio.md 8.3)."""

# B batch, S 2 stereo channels, M mel frames, F mel bins, N samples
from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from ..operations import Operations, torch_operations
from .config import BandwidthExtensionConfig
from .generator import MEL_BINS, Generator
from .mel_stft import CausalMelSTFT
from .upsampler import HALF_WIDTH, upsample_waveform


class BandwidthExtensionVocoder(nn.Module):
    """State dict: `vocoder.*` (first generator), `bwe_generator.*`, `mel_stft.*`."""

    def __init__(self, config: BandwidthExtensionConfig, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        self.config = config
        self.vocoder = Generator(config.generator, operations=operations)
        self.bwe_generator = Generator(config.bwe_generator, operations=operations)
        self.mel_stft = CausalMelSTFT(n_fft=config.n_fft, hop_length=config.hop_length, mel_bins=MEL_BINS)

    @property
    def output_sampling_rate(self) -> int:
        return self.bwe_generator.output_sampling_rate

    @property
    def samples_per_frame(self) -> int:
        return self.vocoder.samples_per_frame * self.config.ratio

    @property
    def frame_alignment(self) -> int:
        """A piece of the mel may start at multiples of this: there the inner frames of both fall together."""
        return self.config.hop_length // math.gcd(self.config.hop_length, self.vocoder.samples_per_frame)

    @property
    def context_frames(self) -> int:
        """How many mel frames on either side, at most, a sample of the waveform depends on."""
        inner = (self.bwe_generator.context_frames + 1) * self.config.hop_length + self.config.n_fft
        return -(-max(inner, HALF_WIDTH + 1) // self.vocoder.samples_per_frame) + self.vocoder.context_frames

    def forward(self, mel: Tensor) -> Tensor:
        """mel (B, 2, M, 64) float32, natural logarithm. Returns (B, 2, M · samples_per_frame) float32 in [−1, 1].

        Raises ValueError for a mel of another shape.
        """
        low = self.vocoder(mel)  # B 2 N
        wanted = low.shape[-1] * self.config.ratio
        low = F.pad(low, (0, -low.shape[-1] % self.config.hop_length))
        residual: Tensor = self.bwe_generator(self.mel_stft(low))
        return (residual + upsample_waveform(low, self.config.ratio)).clamp(-1, 1)[..., :wanted]
