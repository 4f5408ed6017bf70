"""Configuration of the audio VAE and its mel front end."""

from __future__ import annotations

from dataclasses import dataclass

STEREO = 2
LEVELS = 3
FRAMES_PER_LATENT = 4  # mel frames a latent frame, mel bins a latent bin: two of three levels halve both


@dataclass(frozen=True, kw_only=True)
class AudioVAEConfig:
    """The defaults are the published values, the same in all generations (audio.md section 2.1).

    channels: width of the first level; channel_multipliers: width of each of the three levels, in `channels`.
    attention_levels: levels with attention after each residual block; none in published files.
    causal_positions: whether token 0 covers one mel frame instead of four.
    Raises ValueError for sizes that do not fit together.
    """

    channels: int = 128
    channel_multipliers: tuple[int, ...] = (1, 2, 4)
    num_res_blocks: int = 2
    latent_channels: int = 8
    mel_bins: int = 64
    attention_levels: frozenset[int] = frozenset()
    mid_attention: bool = False
    sampling_rate: int = 16000
    hop_length: int = 160
    n_fft: int = 1024
    causal_positions: bool = True

    def __post_init__(self) -> None:
        if len(self.channel_multipliers) != LEVELS:
            found = list(self.channel_multipliers)
            raise ValueError(
                f"audio VAE: expected 3 levels in ch_mult, found {found}; this architecture is not supported"
            )
        if self.mel_bins % FRAMES_PER_LATENT:
            raise ValueError(f"audio VAE: expected mel_bins divisible by 4, found {self.mel_bins}; check the config")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, the one nearest to the mel first."""
        return tuple(self.channels * factor for factor in self.channel_multipliers)

    @property
    def latent_bins(self) -> int:
        return self.mel_bins // FRAMES_PER_LATENT
