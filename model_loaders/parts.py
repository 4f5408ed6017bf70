"""What the loaders hand to the nodes: networks tagged with their generation, read when they are first used."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import torch

from ..networks.audio_vae import AudioDecoder
from ..networks.transformer import Transformer, TransformerConfig
from ..networks.video_vae.tiled import AnyVideoDecoder
from ..networks.vocoder import Vocoder
from .audio_vae import audio_vae_config, load_audio_decoder
from .checkpoint import CheckpointError, open_checkpoint
from .text_encoder import TextEncoder, load_text_encoder
from .transformer import generation_of_transformer, load_transformer, transformer_config
from .video_vae import load_any_video_decoder, video_vae_config
from .vocoder import load_vocoder


class Movable(Protocol):
    """What `Lazy` holds: a network, or a handle with several of them."""

    def to(self, device: torch.device, dtype: torch.dtype) -> object: ...


Loaded = TypeVar("Loaded", bound=Movable)


class Lazy(Generic[Loaded]):
    """A network that is read from its file when it is first asked for: a decoder costs nothing while others work."""

    def __init__(self, load: Callable[[], Loaded], dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._load = load
        self._loaded: Loaded | None = None

    def on(self, device: torch.device) -> Loaded:
        """The network on `device`, in the dtype that was chosen for it."""
        if self._loaded is None:
            self._loaded = self._load()
        self._loaded.to(device, self.dtype)  # modules and handles move in place
        return self._loaded


@dataclass(frozen=True, kw_only=True)
class Part:
    """A piece of a model: of which generation it is, and from which file."""

    generation: str
    path: Path


@dataclass(frozen=True, kw_only=True)
class DiffusionModel(Part):
    """The transformer, and the sizes of a latent: what an empty latent needs to know."""

    transformer: Lazy[Transformer] = field(repr=False)
    config: TransformerConfig = field(repr=False)
    video_channels: int
    audio_channels: int
    audio_bins: int


@dataclass(frozen=True, kw_only=True)
class TextPart(Part):
    """Prompt → contexts of the transformer."""

    encoder: Lazy[TextEncoder] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class VideoPart(Part):
    """Video latent → frames."""

    decoder: Lazy[AnyVideoDecoder] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class AudioPart(Part):
    """Audio latent → waveform."""

    decoder: Lazy[AudioDecoder] = field(repr=False)
    vocoder: Lazy[Vocoder] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Everything that one single-file checkpoint holds."""

    model: DiffusionModel
    text: TextPart
    video: VideoPart
    audio: AudioPart


def open_parts(
    path: str | os.PathLike[str], *, text_encoder: str | os.PathLike[str] | None = None, dtype: torch.dtype
) -> Parts:
    """The parts of a single-file checkpoint of LTX-2 or LTX-2.3; only headers are read here.

    text_encoder: a file or folder with Gemma; None when the checkpoint holds it itself. dtype: of all networks but
    the audio decoder and the vocoder, which run in float32 always.
    Raises CheckpointError, one line, for a file that is no such checkpoint or lacks a part.
    """
    file = open_checkpoint(path)
    generation = generation_of_transformer(file)
    config = transformer_config(file)
    audio_config = audio_vae_config(file)
    video_vae_config(file)  # here rather than after a long run
    if config.video is None or config.audio is None:
        raise CheckpointError(f"{file.path}: expected a transformer for video and audio, found one stream only")
    model = DiffusionModel(
        generation=generation,
        path=file.path,
        transformer=Lazy(partial(load_transformer, file), dtype),
        config=config,
        video_channels=config.video.in_channels,
        audio_channels=audio_config.latent_channels,
        audio_bins=audio_config.latent_bins,
    )
    return Parts(
        model=model,
        text=TextPart(
            generation=generation, path=file.path, encoder=Lazy(partial(load_text_encoder, text_encoder, file), dtype)
        ),
        video=VideoPart(
            generation=generation, path=file.path, decoder=Lazy(partial(load_any_video_decoder, file), dtype)
        ),
        audio=AudioPart(
            generation=generation,
            path=file.path,
            decoder=Lazy(partial(load_audio_decoder, file), torch.float32),
            vocoder=Lazy(partial(load_vocoder, file), torch.float32),
        ),
    )


def refuse_mixed(expected: Part, found_generation: str, what: str) -> None:
    """ValueError, one line that names both, when something of another generation meets `expected`."""
    if found_generation != expected.generation:
        raise ValueError(
            f"{what}: expected LTX-{expected.generation} like {expected.path.name}, found LTX-{found_generation}; "
            "use parts of one generation"
        )
