"""What a plan must know of a model: configurations and bytes, from a published name or from a file's header."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import prod

import torch

from ..model_loaders import published
from ..model_loaders.assemble import build_on_meta
from ..model_loaders.checkpoint import Checkpoint
from ..model_loaders.published import published_model
from ..model_loaders.safetensors_header import TORCH_NAMES
from ..model_loaders.transformer import transformer_config, transformer_tensors
from ..networks.audio_vae import AudioVAEConfig
from ..networks.latent_upscaler import LatentUpscalerConfig
from ..networks.transformer import TransformerConfig
from ..networks.video_vae.config import VideoDecoderConfig
from .needs import TextConfig, VocoderConfig

BLOCK = "transformer_blocks."
PLANNED = (
    *("transformer", "text encoder", "text projection", "video connector", "audio connector", "spatial upscaler x2"),
    *("video decoder", "audio decoder", "vocoder"),
)
FORMATS = {  # bytes a number of the linear weights of blocks
    "bf16": 2.0, "fp8": 1.0, "int8": 1.0, "q8_0": 34 / 32, "q6_k": 210 / 256, "nvfp4": 9 / 16, "q4_k": 144 / 256,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Bytes on the device. blocks: of those that may come one after the other; copied: of the host's memory that an own
    copy takes where the file cannot be used as it is."""

    outside: int
    blocks: tuple[int, ...] = ()
    copied: int = 0

    @property
    def total(self) -> int:
        return self.outside + sum(self.blocks)


@dataclass(frozen=True, kw_only=True)
class ModelSizes:
    """One model. What is None has no phase: no upscaler in a one-stage run, no text encoder in a file without one."""

    name: str
    generation: str
    dtype: torch.dtype
    transformer: TransformerConfig
    weights: Mapping[str, Weights] = field(hash=False)  # by phase
    weight_format: str = ""  # a key of FORMATS, where known
    text: TextConfig | None = None
    video_decoder: VideoDecoderConfig | None = None
    audio_decoder: AudioVAEConfig | None = None
    vocoder: VocoderConfig | None = None
    upscaler: LatentUpscalerConfig | None = None

    @property
    def blocks(self) -> tuple[int, ...]:
        """Bytes of each block of the transformer."""
        return self.weights["denoise"].blocks


def published_sizes(name: str, weight_format: str = "bf16") -> ModelSizes:
    """A published model with the linear weights of its blocks, and of its text encoder, in a format of FORMATS.

    Raises ValueError for another name or format.
    """
    model = published_model(name)
    if weight_format not in FORMATS:
        raise ValueError(f"weights {weight_format!r}: expected one of {', '.join(FORMATS)}")
    shapes = {
        part: {key: tuple(value.shape) for key, value in build_on_meta(build).state_dict().items()}
        for part, build in model.networks.items()
        if part in PLANNED
    }
    first = model.generation == "2"
    text = TextConfig(
        decoder=model.text,
        projection=published.PROJECTION_2 if first else published.PROJECTION_2_3,
        video_connector=published.CONNECTOR_2 if first else published.VIDEO_CONNECTOR,
        audio_connector=published.CONNECTOR_2 if first else published.AUDIO_CONNECTOR,
    )
    share = FORMATS[weight_format]
    parts = ("text projection", "video connector", "audio connector")
    weights = {
        "text": _published_weights(shapes["text encoder"], "layers.", share, [shapes[part] for part in parts]),
        "denoise": _published_weights(shapes["transformer"], BLOCK, share, []),
        "upscale": Weights(outside=2 * _numbers(shapes["spatial upscaler x2"])),
        "decode": Weights(outside=2 * _numbers(shapes["video decoder"])),
        "sound": Weights(outside=4 * (_numbers(shapes["audio decoder"]) + _numbers(shapes["vocoder"]))),
    }
    return ModelSizes(
        name=f"{name}, {weight_format}",
        generation=model.generation,
        weight_format=weight_format,
        dtype=torch.bfloat16,
        transformer=model.transformer,
        weights=weights,
        text=text,
        video_decoder=model.video_decoder,
        audio_decoder=published.AUDIO_VAE,
        vocoder=published.VOCODER_2 if first else published.VOCODER_2_3,
        upscaler=published.UPSCALER_X2_2 if first else published.UPSCALER_X2_2_3,
    )


Shapes = Mapping[str, tuple[int, ...]]


def _published_weights(shapes: Shapes, below: str, share: float, others: Iterable[Shapes]) -> Weights:
    blocks: dict[str, float] = {}
    outside = 0.0
    for name, shape in shapes.items():
        stored = share if name.startswith(below) and len(shape) == 2 and name.endswith("weight") else 2.0
        if name.startswith(below):
            number = name.removeprefix(below).split(".")[0]
            blocks[number] = blocks.get(number, 0) + stored * prod(shape)
        elif "embed_tokens" not in name:  # looked up where it lies, on the host
            outside += stored * prod(shape)
    outside += 2 * sum(map(_numbers, others))
    return Weights(outside=int(outside), blocks=tuple(map(int, blocks.values())))


def _numbers(shapes: Shapes) -> int:
    return sum(map(prod, shapes.values()))


def transformer_sizes(file: Checkpoint, dtype: torch.dtype, *, loras: bool = False) -> Weights:
    """Of the transformer in a file, run in `dtype`: plain tensors in that dtype, stored ones as they are.

    loras: whether plain weights of blocks become copies of their own when they are held whole.
    """
    blocks: dict[int, int] = {}
    outside = copied = 0
    for name, key in transformer_tensors(file).items():
        entry = file.entries[key]
        plain = entry.dtype in ("F32", "F16", "BF16", "F64")
        stored = entry.end - entry.start
        size = prod(entry.shape) * dtype.itemsize if plain else stored
        if name.startswith(BLOCK):
            number = int(name.split(".")[1])
            blocks[number] = blocks.get(number, 0) + size
        else:
            outside += size
        if plain and (loras or TORCH_NAMES.get(entry.dtype) != str(dtype).removeprefix("torch.")):
            copied += size
    return Weights(outside=outside, blocks=tuple(blocks[number] for number in sorted(blocks)), copied=copied)


def in_format(model: ModelSizes, weight_format: str) -> ModelSizes:
    """About the sizes of the same model with its blocks in another format."""
    share = FORMATS[weight_format] / FORMATS[model.weight_format]
    weights = {
        phase: replace(own, blocks=tuple(int(share * block) for block in own.blocks))
        for phase, own in model.weights.items()
    }
    return replace(model, weights=weights, weight_format=weight_format)


def model_sizes(file: Checkpoint, name: str, generation: str, dtype: torch.dtype, *, loras: bool = False) -> ModelSizes:
    """Of a file with a transformer; only its phase."""
    return ModelSizes(
        name=name,
        generation=generation,
        dtype=dtype,
        transformer=transformer_config(file),
        weights={"denoise": transformer_sizes(file, dtype, loras=loras)},
    )
