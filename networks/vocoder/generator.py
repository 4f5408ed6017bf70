"""Convolutional waveform generator, HiFi-GAN and BigVGAN style (audio.md sections 6 to 8)."""

# B batch, S 2 stereo channels, M mel frames, F mel bins, C channels, N samples
from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..operations import Operations, torch_operations
from .activation import REACH, AntiAliasedSnakeBeta
from .config import GeneratorConfig

MEL_BINS = 64
STEREO = 2
SLOPE = 0.1
POST_SLOPE = 0.01  # the published networks were trained with another slope before the last convolution
END_KERNEL = 7


class Generator(nn.Module):
    """The whole vocoder of generation 2; one of the two stages of 2.3 and 2.5."""

    def __init__(self, config: GeneratorConfig, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        self.config = config
        make_block = AMPBlock if config.activation == "snakebeta" else ResidualBlock
        widths = (config.initial_channels, *config.widths)
        self.conv_pre = operations.Conv1d(STEREO * MEL_BINS, widths[0], END_KERNEL, padding=END_KERNEL // 2)
        self.ups = nn.ModuleList(
            operations.ConvTranspose1d(widths[i], widths[i + 1], kernel, stride=rate, padding=(kernel - rate) // 2)
            for i, (rate, kernel) in enumerate(zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True))
        )
        self.resblocks = nn.ModuleList(
            make_block(width, kernel, dilations, operations=operations)
            for width in config.widths
            for kernel, dilations in zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True)
        )
        self.act_post = AntiAliasedSnakeBeta(widths[-1]) if config.activation == "snakebeta" else None
        self.conv_post = operations.Conv1d(
            widths[-1], STEREO, END_KERNEL, padding=END_KERNEL // 2, bias=config.final_bias
        )

    @property
    def output_sampling_rate(self) -> int:
        return self.config.output_sampling_rate

    @property
    def samples_per_frame(self) -> int:
        return self.config.samples_per_frame

    @property
    def frame_alignment(self) -> int:
        """A piece of the mel may start at multiples of this many frames."""
        return 1

    @property
    def context_frames(self) -> int:
        """How many mel frames on either side, at most, a sample of the waveform depends on."""
        snake = REACH if self.config.activation == "snakebeta" else 0
        widest = max(
            (kernel - 1) // 2 * sum(d + 1 for d in dilations) + 2 * snake * len(dilations)
            for kernel, dilations in zip(
                self.config.resblock_kernel_sizes, self.config.resblock_dilation_sizes, strict=True
            )
        )
        reach = END_KERNEL // 2 + snake
        for rate, kernel in reversed(
            list(zip(self.config.upsample_rates, self.config.upsample_kernel_sizes, strict=True))
        ):
            reach = -(-(reach + widest + (kernel - rate) // 2 + rate) // rate)
        return reach + END_KERNEL // 2

    def forward(self, mel: Tensor) -> Tensor:
        """mel (B, 2, M, 64) float32, natural logarithm. Returns (B, 2, M · samples_per_frame) float32.

        Raises ValueError for a mel of another shape.
        """
        if mel.ndim != 4 or mel.shape[1] != STEREO or mel.shape[3] != MEL_BINS or not mel.shape[2]:
            raise ValueError(
                f"vocoder: expected a log-mel (B, 2, frames, {MEL_BINS}), found {tuple(mel.shape)}; "
                "decode a latent of the same generation"
            )
        x: Tensor = self.conv_pre(rearrange(mel, "b s m f -> b (s f) m"))
        for i in range(len(self.ups)):
            x = self._stage(i, x)
        x = F.leaky_relu(x, POST_SLOPE) if self.act_post is None else self.act_post(x)
        return self._finish(self.conv_post(x))

    def _stage(self, i: int, x: Tensor) -> Tensor:
        if self.act_post is None:
            x = F.leaky_relu(x, SLOPE)
        x = self.ups[i](x)
        count = len(self.config.resblock_kernel_sizes)
        total: Tensor = self.resblocks[i * count](x)
        for j in range(1, count):
            total = total + self.resblocks[i * count + j](x)
        return total / count

    def _finish(self, x: Tensor) -> Tensor:
        finish: dict[str, Callable[[Tensor], Tensor]] = {
            "tanh": torch.tanh,
            "clamp": lambda y: y.clamp(-1, 1),
            "none": lambda y: y,
        }
        return finish[self.config.final_activation](x)


class ResidualBlock(nn.Module):
    """Pairs of a dilated and a plain convolution, each pair beside its input; leaky ReLU before each of them."""

    def __init__(
        self, channels: int, kernel: int, dilations: tuple[int, ...], *, operations: Operations = torch_operations
    ) -> None:
        super().__init__()
        half = (kernel - 1) // 2
        self.convs1 = nn.ModuleList(
            operations.Conv1d(channels, channels, kernel, dilation=d, padding=half * d) for d in dilations
        )
        self.convs2 = nn.ModuleList(operations.Conv1d(channels, channels, kernel, padding=half) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:  # B C N
        for first, second in zip(self.convs1, self.convs2, strict=True):
            x = x + second(F.leaky_relu(first(F.leaky_relu(x, SLOPE)), SLOPE))
        return x


class AMPBlock(ResidualBlock):
    """The same with an anti-aliased SnakeBeta of its own before each convolution."""

    def __init__(
        self, channels: int, kernel: int, dilations: tuple[int, ...], *, operations: Operations = torch_operations
    ) -> None:
        super().__init__(channels, kernel, dilations, operations=operations)
        self.acts1 = nn.ModuleList(AntiAliasedSnakeBeta(channels) for _ in dilations)
        self.acts2 = nn.ModuleList(AntiAliasedSnakeBeta(channels) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:  # B C N
        pairs = zip(self.acts1, self.convs1, self.acts2, self.convs2, strict=True)
        for act1, first, act2, second in pairs:
            x = x + second(act2(first(act1(x))))
        return x
