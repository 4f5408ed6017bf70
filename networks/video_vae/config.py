"""What a convolutional video VAE is built from: block lists and widths, without file names."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]
PADDING_MODES: tuple[PaddingMode, ...] = ("zeros", "reflect", "replicate", "circular")
LOG_VARIANCES = ("uniform", "constant", "per_channel")

STRIDES = {"compress_time": (2, 1, 1), "compress_space": (1, 2, 2), "compress_all": (2, 2, 2)}
ENCODER_BLOCKS = ("res_x", "res_x_y", "attn", *(f"{name}_res" for name in STRIDES), *STRIDES, "compress_all_x_y")
DECODER_BLOCKS = ("res_x", "res_x_y", "attn", *STRIDES)


@dataclass(frozen=True, kw_only=True)
class BlockConfig:
    """One entry of a block list; a field that a kind does not know keeps its default."""

    kind: str
    num_layers: int = 1  # res_x
    multiplier: int = 1  # change of width: res_x_y, compress_*
    residual: bool = False  # compress_all of a decoder: shuffled shortcut
    inject_noise: bool = False  # res_x, res_x_y

    @property
    def stride(self) -> tuple[int, int, int]:
        """(frames, height, width) factors of the block; (1, 1, 1) for blocks that keep the size."""
        return next((stride for name, stride in STRIDES.items() if self.kind.startswith(name)), (1, 1, 1))


@dataclass(frozen=True, kw_only=True)
class VideoEncoderConfig:
    """Spec page video_vae, sections 2.1 and 2.2. `blocks` in build order; `conv_in` is latent_channels wide."""

    in_channels: int
    latent_channels: int
    patch_size: int
    blocks: tuple[BlockConfig, ...]
    padding: PaddingMode
    log_variance: str

    def __post_init__(self) -> None:
        refuse_unknown_kinds(self.blocks, ENCODER_BLOCKS, "encoder")
        if self.log_variance not in LOG_VARIANCES:
            raise ValueError(
                f"video encoder: latent_log_var must be one of {', '.join(LOG_VARIANCES)}, found {self.log_variance!r}"
            )

    @property
    def factors(self) -> tuple[int, int, int]:
        """Pixels a latent cell: (frames, height, width)."""
        return total_factors(self.blocks, self.patch_size)

    @property
    def conv_out_channels(self) -> int:
        """Means, then log-variances: one shared, or one a channel."""
        return 2 * self.latent_channels if self.log_variance == "per_channel" else self.latent_channels + 1


@dataclass(frozen=True, kw_only=True)
class VideoDecoderConfig:
    """Spec page video_vae, sections 2.1 and 2.3. `blocks` in build order, from the latent to the pixels."""

    out_channels: int
    latent_channels: int
    base_channels: int
    patch_size: int
    blocks: tuple[BlockConfig, ...]
    padding: PaddingMode
    causal: bool
    timestep_conditioning: bool

    def __post_init__(self) -> None:
        refuse_unknown_kinds(self.blocks, DECODER_BLOCKS, "decoder")

    @property
    def factors(self) -> tuple[int, int, int]:
        """Pixels a latent cell: (frames, height, width)."""
        return total_factors(self.blocks, self.patch_size)

    @property
    def width(self) -> int:
        """Channels after `conv_in`."""
        return self.base_channels * prod(block.multiplier for block in self.blocks)


def refuse_unknown_kinds(blocks: tuple[BlockConfig, ...], known: tuple[str, ...], what: str) -> None:
    for block in blocks:
        if block.kind not in known:
            raise ValueError(f"video {what}: unknown block {block.kind!r}; known are {', '.join(known)}")


def total_factors(blocks: tuple[BlockConfig, ...], patch_size: int) -> tuple[int, int, int]:
    frames, height, width = (prod(block.stride[axis] for block in blocks) for axis in range(3))
    return frames, patch_size * height, patch_size * width
