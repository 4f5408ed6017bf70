"""What is measured, and the files that all peers read: seeded random weights under published names, and inputs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from . import configs
from .configs import Config

Component = Literal["transformer", "video_decoder", "video_stream", "video_encoder", "vocoder", "gemma"]
INPUT = "@in/"
# The default run takes a quarter of an hour on two cores; `slow` cases wait for --all.
SLOW_VIDEO = {
    ("video_decoder", 64): ("float32",),
    ("video_encoder", 128): ("float32",),
    ("video_encoder", 64): ("float32", "bfloat16"),
}
FPS, TEXT_TOKENS, SIGMA = 24.0, 1024, 0.7
# Where published files keep a component's tensors.
PREFIXES: Mapping[Component, str] = {
    "transformer": "model.diffusion_model.",
    "video_decoder": "vae.",
    "video_stream": "vae.",
    "video_encoder": "vae.",
    "vocoder": "vocoder.",
    "gemma": "language_model.model.",
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of the table. `size`: latent grid of a video, mel frames of the vocoder, tokens of Gemma."""

    name: str
    component: Component
    generation: str
    config: Config  # of the component, as published
    size: tuple[int, ...]
    slow: tuple[str, ...] = ()  # dtypes that only a run of everything measures

    def dtypes(self, *, everything: bool = True) -> tuple[str, ...]:
        known = ("float32",) if self.component == "vocoder" else ("float32", "bfloat16")  # audio is never rounded
        return tuple(dtype for dtype in known if everything or dtype not in self.slow)


@dataclass(frozen=True, kw_only=True)
class LoadedCase:
    """A case in a worker. `tensors` under published names without prefix, in `dtype`; floating inputs too."""

    component: Component
    generation: str
    config: Config
    tensors: dict[str, Tensor]
    inputs: dict[str, Tensor]
    size: tuple[int, ...]
    dtype: torch.dtype
    device: str
    path: Path


def cases(only: str | None = None) -> list[Case]:
    """The published comparison; `only` keeps the names that contain it."""
    rows = [*_transformer_cases(), *_video_cases()]
    rows += [
        Case(
            name=f"vocoder {generation}, 1 s",
            component="vocoder",
            generation=generation,
            config=configs.vocoder(generation),
            size=(100,),
        )
        for generation in ("2", "2.3")
    ]
    rows.append(
        Case(
            name="Gemma 3, 4 layers, 256 tokens",
            component="gemma",
            generation="2",
            config=configs.gemma(layers=4),
            size=(256,),
        )
    )
    return [case for case in rows if only is None or only.lower() in case.name.lower()]


def _transformer_cases() -> list[Case]:
    grids = {"1 k": (4, 16, 16), "4 k": (16, 16, 16)}
    return [
        Case(
            name=f"transformer {generation}, {tokens} tokens",
            component="transformer",
            generation=generation,
            config=configs.transformer(generation, layers=8, share=4),
            size=grid,
            slow=("float32",) if (generation, tokens) == ("2", "4 k") else (),
        )
        for generation in ("2", "2.3")
        for tokens, grid in grids.items()
    ]


def _video_cases() -> list[Case]:
    halves: tuple[Component, ...] = ("video_decoder", "video_encoder")
    clips = (("full width, 9 frames 256x256", 128, (2, 8, 8)), ("half width, 33 frames 512x512", 64, (5, 16, 16)))
    return [
        Case(
            name=f"{half.replace('_', ' ')}, {what}",
            component=half,
            generation="2.3",
            config=configs.video_vae(channels=channels),
            size=grid,
            slow=SLOW_VIDEO.get((half, channels), ()),
        )
        for half in halves
        for what, channels, grid in clips
    ]


def streaming_cases() -> list[Case]:
    """A short and a long clip of the same picture."""
    return [
        Case(
            name=f"streaming decode, half width, {8 * frames - 7} frames 256x256",
            component="video_stream",
            generation="2.3",
            config=configs.video_vae(channels=64),
            size=(frames, 8, 8),
        )
        for frames in (5, 16)
    ]


def tiny_cases() -> list[Case]:
    """The same components at toy sizes: to see in a minute that every peer still computes the same."""
    sizes: dict[Component, tuple[int, ...]] = {
        "transformer": (2, 4, 4),
        "video_decoder": (2, 2, 2),
        "video_encoder": (2, 2, 2),
        "vocoder": (20,),
        "gemma": (16,),
    }
    small: list[tuple[Component, str, Config]] = [
        ("transformer", "2", configs.transformer("2", layers=2, share=16)),
        ("transformer", "2.3", configs.transformer("2.3", layers=2, share=16)),
        ("video_decoder", "2.3", configs.video_vae(channels=16)),
        ("video_encoder", "2.3", configs.video_vae(channels=16)),
        ("vocoder", "2", configs.vocoder("2", share=16)),
        ("vocoder", "2.3", configs.vocoder("2.3", share=8)),
        ("gemma", "2", configs.gemma(layers=2, share=16)),
    ]
    return [
        Case(
            name=f"tiny {component.replace('_', ' ')} {generation}",
            component=component,
            generation=generation,
            config=config,
            size=sizes[component],
        )
        for component, generation, config in small
    ]


def write_case(case: Case, shapes: Mapping[str, tuple[int, ...]], path: Path) -> None:
    """A file with float32 weights of these shapes (names without prefix) and the inputs; metadata as published."""
    generator = torch.Generator().manual_seed(0)
    weights = {name: random_weight(name, shape, generator) for name, shape in shapes.items()}
    tensors = {PREFIXES[case.component] + name: tensor for name, tensor in weights.items()}
    tensors |= {INPUT + name: tensor for name, tensor in _inputs(case, generator).items()}
    section = {"transformer": "transformer", "vocoder": "vocoder", "gemma": "text_config"}.get(case.component, "vae")
    metadata = {
        "config": json.dumps({section: case.config}),
        "model_version": case.generation,
        "case": json.dumps({"component": case.component, "generation": case.generation, "size": case.size}),
    }
    save_file(tensors, path, metadata)


def read_case(path: Path, dtype: torch.dtype, device: str) -> LoadedCase:
    with safe_open(str(path), framework="pt") as file:
        metadata = file.metadata()
        stored = {name: file.get_tensor(name) for name in file.keys()}
    case = json.loads(metadata["case"])
    (config,) = json.loads(metadata["config"]).values()
    prefix = PREFIXES[case["component"]]
    return LoadedCase(
        component=case["component"],
        generation=case["generation"],
        config=config,
        tensors={
            name.removeprefix(prefix): tensor.to(device, dtype)
            for name, tensor in stored.items()
            if name.startswith(prefix)
        },
        inputs={
            name.removeprefix(INPUT): _cast(name, tensor, dtype).to(device)
            for name, tensor in stored.items()
            if name.startswith(INPUT)
        },
        size=tuple(case["size"]),
        dtype=dtype,
        device=device,
        path=path,
    )


def random_weight(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Values that keep activations near 1: products by fan-in, gains near 1, and a quiet waveform."""
    drawn = torch.randn(shape, generator=generator)
    if name.endswith("filter"):
        return _lowpass(shape[-1])
    if name.endswith("mel_basis"):
        return drawn.abs() / shape[-1]
    if name.endswith("std-of-means"):
        return 0.5 + 0.1 * drawn.abs()
    if "conv_post" in name:
        return 0.005 * drawn / math.sqrt(math.prod(shape[1:]))  # a quiet waveform: libraries clip at different places
    if len(shape) == 1:
        return 0.1 * drawn + (1.0 if name.endswith("norm.weight") else 0.0)
    return drawn / math.sqrt(math.prod(shape[1:]))


def _lowpass(taps: int) -> Tensor:
    """A windowed sinc, cut off at a quarter of the sampling rate."""
    times = torch.arange(taps) - (taps - 1) / 2
    kernel = torch.sinc(times / 2) * torch.kaiser_window(taps, periodic=False, beta=4.66)
    return (kernel / kernel.sum())[None, None]


def _inputs(case: Case, generator: torch.Generator) -> dict[str, Tensor]:
    size = case.size
    if case.component == "transformer":
        return transformer_inputs(case, generator)
    if case.component in ("video_decoder", "video_stream"):
        return {"latent": torch.randn(1, case.config["latent_channels"], *size, generator=generator)}
    if case.component == "video_encoder":
        frames, height, width = 8 * (size[0] - 1) + 1, 32 * size[1], 32 * size[2]
        return {"video": torch.rand(1, 3, frames, height, width, generator=generator) * 2 - 1}
    if case.component == "vocoder":
        return {"mel": torch.randn(1, 2, *size, 64, generator=generator)}
    return {"ids": torch.randint(case.config["vocab_size"], (1, *size), generator=generator)}


def transformer_inputs(case: Case, generator: torch.Generator) -> dict[str, Tensor]:
    from ..samplers.shapes import VideoGrid, audio_latent_frames, pixel_frames
    from ..samplers.tokens import audio_positions, video_positions

    config, grid = case.config, VideoGrid(*case.size)
    audio_tokens = audio_latent_frames(pixel_frames(grid.frames), FPS)
    widths = (config["cross_attention_dim"], config["audio_cross_attention_dim"])
    if case.generation == "2":
        widths = (config["caption_channels"],) * 2
    return {
        "video_latent": torch.randn(1, grid.tokens, 128, generator=generator),
        "audio_latent": torch.randn(1, audio_tokens, 128, generator=generator),
        "video_context": torch.randn(1, TEXT_TOKENS, widths[0], generator=generator),
        "audio_context": torch.randn(1, TEXT_TOKENS, widths[1], generator=generator),
        "video_positions": video_positions(grid, FPS).contiguous(),
        "audio_positions": audio_positions(audio_tokens).contiguous(),
        "sigma": torch.full((1,), SIGMA),
    }


def _cast(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    exact = name.endswith(("positions", "sigma")) or not tensor.is_floating_point()
    return tensor if exact else tensor.to(dtype)
