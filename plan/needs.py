"""What each part of a generation needs, for any size: rehearsed once for each, then remembered."""

# B samples, T tokens, S text tokens
from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache, partial

import torch
from torch import Tensor

from ..networks.audio_vae import AudioDecoder, AudioVAEConfig, decode_audio
from ..networks.latent_upscaler import LatentUpscaler, LatentUpscalerConfig
from ..networks.text.connector import Connector, ConnectorConfig
from ..networks.text.features import ProjectionConfig, SeparateProjection, SharedProjection
from ..networks.text.gemma3 import Gemma3
from ..networks.text.gemma4 import Gemma4
from ..networks.text.gemma_config import GemmaConfig
from ..networks.transformer import Stream, StreamConfig, Transformer, TransformerConfig
from ..networks.video_vae.config import VideoDecoderConfig
from ..networks.video_vae.decoder import DEFAULT_CHUNK, VideoDecoder
from ..networks.vocoder import BandwidthExtensionConfig, BandwidthExtensionVocoder, Generator, GeneratorConfig, Vocoder
from .pretence import META
from .rehearsal import Need, hollow, rehearsed

REHEARSED_BLOCKS = 2  # all blocks are alike: the first sees fresh tables, the second what the first one left
REHEARSED_LAYERS = 13  # of a text decoder: two groups of hidden states for the projection, both kinds of layers
LATENT_FRAMES = 36  # then every layer of a stream holds what it ever will; but the last piece may be another

VocoderConfig = GeneratorConfig | BandwidthExtensionConfig


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """A whole text encoder; length: positions of a context."""

    decoder: GemmaConfig
    projection: ProjectionConfig
    video_connector: ConnectorConfig
    audio_connector: ConnectorConfig
    length: int = 1024


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Of one pass: video and audio tokens (0: no such stream), positions of the text. distinct: given tokens, too."""

    video: int
    audio: int
    text: int = 1024
    distinct: bool = False


@lru_cache(maxsize=64)
def denoise_need(
    config: TransformerConfig,
    dtype: torch.dtype,
    device: torch.device,
    tokens: Tokens,
    passes: int = 1,
    chunk: int | None = None,
) -> Need:
    """One evaluation of `passes` passes in one batch, with what is prepared once for a run; chunk: of feed-forwards.

    Kept text keys and values (generation 2) are not in it.
    """
    layers = min(config.num_layers, REHEARSED_BLOCKS)
    network = hollow(lambda: Transformer(replace(config, num_layers=layers)), dtype)
    video = _stream(config, config.video, tokens.video, tokens, passes, dtype)
    audio = _stream(config, config.audio, tokens.audio, tokens, passes, dtype)
    inputs = [
        value for stream in (video, audio) if stream for value in vars(stream).values() if isinstance(value, Tensor)
    ]
    need = rehearsed(lambda: network(video, audio, feed_forward_chunk=chunk), [network, *inputs], device)
    return replace(need, operations=need.operations * config.num_layers // layers)


def _stream(
    config: TransformerConfig, stream: StreamConfig | None, count: int, tokens: Tokens, passes: int, dtype: torch.dtype
) -> Stream | None:
    if stream is None or not count:
        return None
    return Stream(
        latent=_empty(passes, count, stream.in_channels, dtype=dtype),
        sigma=_empty(passes),
        timesteps=_empty(passes, count if tokens.distinct else 1, 1),
        positions=_empty(1, len(stream.max_pos), count, 2),
        context=_empty(passes, tokens.text, config.caption_channels or stream.width, dtype=dtype),
    )


@lru_cache(maxsize=64)
def text_need(config: TextConfig, dtype: torch.dtype, device: torch.device, prompt: int) -> Need:
    """One prompt of `prompt` tokens, the begin token among them; its contexts count."""
    kept = min(len(config.decoder.layers), REHEARSED_LAYERS)
    shorter = replace(config.decoder, layers=config.decoder.layers[:kept])
    family = Gemma4 if config.decoder.logit_cap is not None else Gemma3
    decoder = hollow(lambda: family(shorter), dtype)
    projection = hollow(lambda: _projection(replace(config.projection, num_states=shorter.num_states)), dtype)
    video, audio = (hollow(partial(Connector, own), dtype) for own in (config.video_connector, config.audio_connector))
    ids = torch.empty((1, prompt), dtype=torch.int64, device=META)

    def run() -> list[Tensor]:
        mask = torch.ones_like(ids)
        features = projection(decoder.hidden_states(ids), mask)
        connectors = zip((video, audio), features, strict=True)
        return [connector(own, mask, length=config.length) for connector, own in connectors]

    need = rehearsed(run, [decoder, projection, video, audio, ids], device)
    return replace(need, operations=need.operations * len(config.decoder.layers) // kept)


def _projection(config: ProjectionConfig) -> SharedProjection | SeparateProjection:
    return SharedProjection(config) if config.audio_features is None else SeparateProjection(config)


@lru_cache(maxsize=64)
def upscale_need(
    config: LatentUpscalerConfig, dtype: torch.dtype, device: torch.device, grid: tuple[int, int, int]
) -> Need:
    """A latent of `grid` = (frames, height, width) cells; the result counts."""
    network, latent = hollow(lambda: LatentUpscaler(config), dtype), _empty(1, config.in_channels, *grid, dtype=dtype)
    return rehearsed(lambda: network(latent), [network, latent], device)


@lru_cache(maxsize=64)
def decode_need(
    config: VideoDecoderConfig,
    dtype: torch.dtype,
    device: torch.device,
    grid: tuple[int, int, int],
    limit: int | None = None,
) -> Need:
    """A latent of `grid` cells, streamed in time; frames that came out do not count. limit: elements of a piece."""
    frames = min(grid[0], LATENT_FRAMES + (grid[0] - LATENT_FRAMES) % DEFAULT_CHUNK)
    network = hollow(lambda: VideoDecoder(config), dtype)
    latent = _empty(1, config.latent_channels, frames, *grid[1:], dtype=dtype)

    def run() -> None:
        for _ in network.decode_stream(latent, limit=limit):
            pass

    need = rehearsed(run, [network, latent], device)
    return replace(need, operations=need.operations * grid[0] // frames)


@lru_cache(maxsize=64)
def sound_need(decoder: AudioVAEConfig, vocoder: VocoderConfig, device: torch.device, frames: int) -> Need:
    """A sound of `frames` latent frames, in float32; the waveform counts."""
    network = hollow(lambda: AudioDecoder(decoder), torch.float32)
    generator = hollow(lambda: _vocoder(vocoder), torch.float32)
    latent = _empty(1, decoder.latent_channels, frames, decoder.latent_bins)
    return rehearsed(lambda: decode_audio(network, generator, latent), [network, generator, latent], device)


def _vocoder(config: VocoderConfig) -> Vocoder:
    return Generator(config) if isinstance(config, GeneratorConfig) else BandwidthExtensionVocoder(config)


def _empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, dtype=dtype, device=META)
