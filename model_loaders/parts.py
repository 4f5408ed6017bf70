"""What the loaders hand to the nodes: networks tagged with their generation, read when they are first used."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from ..given_text import quoted
from ..networks.audio_vae import AudioDecoder, AudioEncoder
from ..networks.latent_upscaler import LatentUpscaler, LatentUpscalerConfig
from ..networks.operations import Operations, torch_operations
from ..networks.text.connector import Connectors
from ..networks.transformer import Transformer, TransformerConfig
from ..networks.transformer.watch import Watch
from ..networks.video_vae.encoder import VideoEncoder
from ..networks.video_vae.statistics import PerChannelStatistics
from ..networks.video_vae.tiled import AnyVideoDecoder
from ..networks.vocoder import Vocoder
from .audio_vae import audio_vae_config, load_audio_decoder, load_audio_encoder
from .checkpoint import Checkpoint, CheckpointError, open_checkpoint
from .detection import detect_checkpoint
from .file_names import Training
from .generations import shared
from .latent_upscaler import latent_upscaler_config, load_latent_upscaler, upscaler_generation
from .lora.network import LoraUse
from .operations import tell_ways
from .own_shift import OwnShift, own_shift
from .placement import Placement
from .residents import make_room, note_use
from .text_conditioning import usual_cache
from .text_encoder import TextEncoder, check_text, load_connectors, load_text_encoder
from .transformer import generation_of_transformer, load_transformer, transformer_config
from .video_vae import load_any_video_decoder, load_video_encoder, load_video_statistics, video_vae_config
from .vocoder import load_vocoder

StrPath = str | os.PathLike[str]
LONGEST = 600  # characters of a refusal
AUDIO_BINS = 16  # of an audio latent: 64 mel bins, four to one, in every generation


class Movable(Protocol):
    """What `Lazy` holds: a network, or a handle with several of them."""

    def to(self, device: torch.device, dtype: torch.dtype) -> object: ...


Loaded = TypeVar("Loaded", bound=Movable)


def weights_of(loaded: Movable) -> Iterator[Tensor]:
    """What `loaded.to` moves."""
    if isinstance(loaded, TextEncoder):
        yield from (weight for module in loaded.moving for weight in module.parameters())
    elif isinstance(loaded, nn.Module):
        yield from (*loaded.parameters(), *loaded.buffers())


def same(found: torch.device, wanted: torch.device) -> bool:
    """Whether a tensor's device is the wanted one, which may have no number."""
    return found.type == wanted.type and wanted.index in (None, found.index)


class Lazy(Generic[Loaded]):
    """A network that is read from its file when it is first asked for: a decoder costs nothing while others work."""

    def __init__(self, load: Callable[[], Loaded], dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._load = load
        self._loaded: Loaded | None = None
        self._told: torch.device | None = None  # where it has been said how stored layers compute
        self._others: dict[torch.dtype, Lazy[Loaded]] = {}

    paged = False  # whether a host decides which weights are on the device
    patches = ""  # what names the changes that others have made to the weights; "": none

    def with_host(self, model: DiffusionModel) -> DiffusionModel:
        """A model that was made of this one's, run by the host that runs this one."""
        return model

    def idle(self) -> Loaded | None:
        """The network wherever it lies, if it has been read; for questions that need no weights."""
        return self._loaded

    def drop(self) -> None:
        """Forget what was read: the next use reads it anew."""
        self._loaded = None

    @property
    def source(self) -> Callable[[], Loaded]:
        """Reads the network anew."""
        return self._load

    def on(self, device: torch.device, *, memory: int = 0) -> Loaded:
        """The network on `device`, in the dtype that was chosen for it.

        memory: bytes that the caller will need there besides the weights: on an accelerator others give way for them.
        """
        loaded = self.read()
        if device.type != "cpu":
            missing = sum(map(self.size, weights_of(loaded))) - self.bytes_on(device)
            make_room(device, missing + memory, keep=self)
            note_use(self)
        loaded.to(device, self.dtype)  # modules and handles move in place
        if self._told != device:
            self._told = device
            tell_ways(loaded, device, self.dtype)
        return loaded

    def read(self) -> Loaded:
        """The network wherever it lies; read if it was not yet."""
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded

    def bytes_on(self, device: torch.device) -> int:
        """Of its weights on `device`."""
        loaded = self._loaded
        return 0 if loaded is None else sum(self.size(own) for own in weights_of(loaded) if same(own.device, device))

    def size(self, tensor: Tensor) -> int:
        """Bytes of one of its weights on a device."""
        plain = tensor.is_floating_point() and tensor.element_size() > 1
        return tensor.numel() * (self.dtype.itemsize if plain else tensor.element_size())

    def in_dtype(self, dtype: torch.dtype) -> Lazy[Loaded]:
        """The same network in another dtype: read once, kept beside this one as long as this one."""
        if dtype == self.dtype:
            return self
        if dtype not in self._others:
            self._others[dtype] = self._in_dtype(dtype)
        return self._others[dtype]

    def _in_dtype(self, dtype: torch.dtype) -> Lazy[Loaded]:
        return Lazy(self._load, dtype)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A piece of a model: of which generation it is, and from which file.

    generation: "2", "2.3", "2.5", "2.3 or 2.5" where the file fits both, None where it does not tell.
    """

    generation: str | None
    path: Path


@dataclass(frozen=True, kw_only=True)
class DiffusionModel(Part):
    """The transformer, and what its configuration tells about latents.

    file: where it is read from, of half a model without the other half. connectors: for text features of ComfyUI.
    training: `dev` or `distilled`, None where nobody said. shift: of its schedule, where its file names one.
    weight_format: as `detection` names it. loras: what `transformer` has been changed by; clean: reads it without them.
    """

    file: Checkpoint = field(repr=False)
    transformer: Lazy[Transformer] = field(repr=False)
    connectors: Lazy[Connectors] = field(repr=False)
    config: TransformerConfig = field(repr=False)
    training: Training | None = None
    shift: OwnShift | None = None
    weight_format: str = ""
    loras: tuple[LoraUse, ...] = ()
    clean: Callable[[], Transformer] | None = field(default=None, repr=False)
    placement: Placement | None = None  # that the user has chosen
    watch: Watch | None = field(default=None, repr=False)  # an attention of it that somebody looks at

    @property
    def video_channels(self) -> int:
        """Channels of a video latent; 0 for an audio-only model."""
        return 0 if self.config.video is None else self.config.video.in_channels

    @property
    def audio_channels(self) -> int:
        """Channels of an audio latent; 0 for a video-only model."""
        return 0 if self.config.audio is None else self.config.audio.in_channels // AUDIO_BINS


@dataclass(frozen=True, kw_only=True)
class TextPart(Part):
    """Prompt → contexts of the transformer.

    load: reads the encoder anew, with the operations of a host. layers: names of all parameters. loras: what `encoder`
    has been changed by; clean: reads it without them.
    """

    encoder: Lazy[TextEncoder] = field(repr=False)
    load: Callable[..., TextEncoder] = field(repr=False)
    layers: frozenset[str] = field(default=frozenset(), repr=False)
    loras: tuple[LoraUse, ...] = ()
    clean: Callable[[], TextEncoder] | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class VideoPart(Part):
    """Frames → video latent and back."""

    encoder: Lazy[VideoEncoder] = field(repr=False)
    decoder: Lazy[AnyVideoDecoder] = field(repr=False)
    statistics: Lazy[PerChannelStatistics] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class AudioPart(Part):
    """Waveform → audio latent and back."""

    encoder: Lazy[AudioEncoder] = field(repr=False)
    decoder: Lazy[AudioDecoder] = field(repr=False)
    vocoder: Lazy[Vocoder] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class UpscalerPart(Part):
    """Video latent → one with more cells or frames."""

    network: Lazy[LatentUpscaler] = field(repr=False)
    config: LatentUpscalerConfig = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Everything that one single-file checkpoint holds."""

    model: DiffusionModel
    text: TextPart
    video: VideoPart
    audio: AudioPart


@contextmanager
def _wrong_kinds(path: StrPath) -> Iterator[None]:
    """What a file says of its networks is anybody's JSON: a value of a wrong kind in it is the file's fault."""
    try:
        yield
    except ValueError as error:
        if len(str(error)) <= LONGEST:
            raise
        raise CheckpointError(f"{str(error)[:LONGEST]} …") from error  # it quotes what the file says
    except (TypeError, AttributeError, KeyError, IndexError, OverflowError, RecursionError) as error:
        reason = quoted(str(error).splitlines()[0] if str(error) else type(error).__name__)
        raise CheckpointError(
            f"{path}: expected a configuration as published, found a value of a wrong kind in it ({reason}); "
            "get the file again"
        ) from error


def open_parts(
    path: StrPath,
    *,
    text_encoder: StrPath | None = None,
    dtype: torch.dtype,
    training: Training | None = None,
    operations: Operations = torch_operations,
) -> Parts:
    """The parts of a single-file checkpoint of LTX-2 or LTX-2.3; only headers are read here.

    text_encoder: a file or folder with Gemma; None when the checkpoint holds it itself. dtype: of all networks but
    those of the sound, which run in float32 always.
    Raises CheckpointError, one line, for a file that is no such checkpoint or lacks a part.
    """
    model = open_model(path, dtype=dtype, training=training, operations=operations)
    return Parts(
        model=model,
        text=open_text(text_encoder, path, dtype=dtype),
        video=replace(open_video(path, dtype=dtype), generation=model.generation),
        audio=replace(open_audio(path), generation=model.generation),
    )


def open_model(
    path: StrPath,
    *,
    dtype: torch.dtype,
    training: Training | None = None,
    operations: Operations = torch_operations,
) -> DiffusionModel:
    """The transformer of a checkpoint or of a file of its own, plain or quantised, safetensors or GGUF.

    Quantised weights stay as they are; the log says once how their products are taken on the device.
    """
    with _wrong_kinds(path):
        file = open_checkpoint(path)
        return DiffusionModel(
            generation=generation_of_transformer(file),
            path=file.path,
            file=file,
            transformer=Lazy(partial(load_transformer, file, operations=operations), dtype),
            connectors=Lazy(partial(load_connectors, file), dtype),
            config=transformer_config(file),
            training=training,
            shift=own_shift(file),
            weight_format=detect_checkpoint(file).weight_format,
        )


def open_text(
    encoder: StrPath | None, checkpoint: StrPath, *, dtype: torch.dtype, extra: Sequence[StrPath] = ()
) -> TextPart:
    """Gemma, projection and connectors: the encoder's file or folder, and the file with the transformer.

    extra: files with the projection or the connectors, where neither of the two has them (repacks, GGUF).

    Raises CheckpointError, one line, where they do not belong together or a piece is missing in both.
    """
    with _wrong_kinds(checkpoint):
        file = open_checkpoint(checkpoint)
        extra_files = [_of_same_generation(open_checkpoint(path), file) for path in extra]
        layers = check_text(encoder, file, extra_files)
        load = partial(load_text_encoder, encoder, file, extra_files=extra_files, cache=usual_cache())
        return TextPart(
            generation=generation_of_transformer(file),
            path=file.path,
            encoder=Lazy(load, dtype),
            load=load,
            layers=layers,
        )


def _of_same_generation(extra: Checkpoint, file: Checkpoint) -> Checkpoint:
    expected, found = generation_of_transformer(file), detect_checkpoint(extra).generation
    shared(expected, found, like=file.path.name, what=extra.path.name)
    return extra


def open_video(path: StrPath, *, dtype: torch.dtype) -> VideoPart:
    """The video VAE of a checkpoint or of a file of its own."""
    with _wrong_kinds(path):
        file = open_checkpoint(path)
        video_vae_config(file)  # a bad file shows here, not after a long run
        return VideoPart(
            generation=_generation(file),
            path=file.path,
            encoder=Lazy(partial(load_video_encoder, file), dtype),
            decoder=Lazy(partial(load_any_video_decoder, file), dtype),
            statistics=Lazy(partial(load_video_statistics, file), torch.float32),
        )


def open_audio(path: StrPath) -> AudioPart:
    """The audio VAE and the vocoder of a checkpoint or of a file of their own."""
    with _wrong_kinds(path):
        file = open_checkpoint(path)
        audio_vae_config(file)
        return AudioPart(
            generation=_generation(file),
            path=file.path,
            encoder=Lazy(partial(load_audio_encoder, file), torch.float32),
            decoder=Lazy(partial(load_audio_decoder, file), torch.float32),
            vocoder=Lazy(partial(load_vocoder, file), torch.float32),
        )


def open_upscaler(path: StrPath, *, dtype: torch.dtype) -> UpscalerPart:
    """A latent upscaler."""
    with _wrong_kinds(path):
        file = open_checkpoint(path)
        config = latent_upscaler_config(file)
        return UpscalerPart(
            generation=upscaler_generation(file, config),
            path=file.path,
            network=Lazy(partial(load_latent_upscaler, file), dtype),
            config=config,
        )


def refuse_mixed(expected: Part, found_generation: str | None, what: str) -> str | None:
    """The generation that both are of; ValueError, one line that names both, when something of another one meets
    `expected`.

    A generation may be two that a file's header cannot tell apart, "2.3 or 2.5": they fit where one of them does.
    """
    return shared(expected.generation, found_generation, like=expected.path.name, what=what)


def _generation(file: Checkpoint) -> str | None:
    """As far as the header tells; None where it fits several or is of no kind that we know."""
    found = detect_checkpoint(file).generation
    return found if found.startswith("2") else None
