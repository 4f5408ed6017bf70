"""Configuration of the vocoders."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Activation = Literal["leaky_relu", "snakebeta"]
FinalActivation = Literal["tanh", "clamp", "none"]


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    """One generator; no defaults, because each published generator has its own values (audio.md sections 2.2, 2.3).

    initial_channels: width before the first stage; each stage halves it. resblock_*: one entry a residual block.
    output_sampling_rate: Hz. Raises ValueError for lists that do not fit together.
    """

    initial_channels: int
    upsample_rates: tuple[int, ...]
    upsample_kernel_sizes: tuple[int, ...]
    resblock_kernel_sizes: tuple[int, ...]
    resblock_dilation_sizes: tuple[tuple[int, ...], ...]
    activation: Activation
    final_activation: FinalActivation
    final_bias: bool
    output_sampling_rate: int

    def __post_init__(self) -> None:
        rates, kernels = self.upsample_rates, self.upsample_kernel_sizes
        if len(rates) != len(kernels) or any(k < r or (k - r) % 2 for r, k in zip(rates, kernels, strict=False)):
            raise ValueError(
                f"vocoder: expected upsample_kernel_sizes that exceed upsample_rates {list(rates)} by even numbers, "
                f"found {list(kernels)}; check the config"
            )
        if len(self.resblock_kernel_sizes) != len(self.resblock_dilation_sizes):
            raise ValueError(
                f"vocoder: expected one list of dilations for each of resblock_kernel_sizes "
                f"{list(self.resblock_kernel_sizes)}, found {len(self.resblock_dilation_sizes)}; check the config"
            )
        if self.initial_channels % 2 ** len(rates):
            raise ValueError(
                f"vocoder: expected upsample_initial_channel divisible by {2 ** len(rates)}, "
                f"found {self.initial_channels}; check the config"
            )

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels after each stage."""
        return tuple(self.initial_channels // 2 ** (i + 1) for i in range(len(self.upsample_rates)))

    @property
    def samples_per_frame(self) -> int:
        return math.prod(self.upsample_rates)


@dataclass(frozen=True, kw_only=True)
class BandwidthExtensionConfig:
    """Generations 2.3 and 2.5: a generator at the input rate, and a second one that adds the upper band.

    n_fft, hop_length: of the causal log-mel between the two, in samples at the first generator's rate.
    Raises ValueError for an output rate that is no multiple of it.
    """

    generator: GeneratorConfig
    bwe_generator: GeneratorConfig
    n_fft: int
    hop_length: int

    def __post_init__(self) -> None:
        low, high = self.generator.output_sampling_rate, self.bwe_generator.output_sampling_rate
        if high % low:
            raise ValueError(f"vocoder: expected an output rate that is a multiple of {low} Hz, found {high} Hz")
        wanted = self.ratio * self.hop_length
        if self.bwe_generator.samples_per_frame != wanted:
            raise ValueError(
                f"vocoder: expected bwe upsample_rates with product {wanted} ({self.ratio} times the hop), "
                f"found {self.bwe_generator.samples_per_frame}; check the config"
            )

    @property
    def ratio(self) -> int:
        """Output samples for each sample of the first generator."""
        return self.bwe_generator.output_sampling_rate // self.generator.output_sampling_rate
