"""Sizes of the networks that are trained to replace the random embedded ones (spec page embedded_model, section 9).

The smaller end of the recommendation: 19 million parameters, 38 MB in bfloat16.
"""

from __future__ import annotations

from dataclasses import replace

from ..networks.audio_vae import AudioVAEConfig
from ..networks.text.connector import ConnectorConfig
from ..networks.text.features import ProjectionConfig
from ..networks.text.gemma_config import GemmaConfig, LayerConfig
from ..networks.transformer import StreamConfig, TransformerConfig
from ..networks.video_vae.config import BlockConfig, VideoDecoderConfig, VideoEncoderConfig
from .embedded_config import SHIPPED, Sizes

LATENT_CHANNELS, AUDIO_CHANNELS = 32, 2
HEADS, VIDEO_HEAD, AUDIO_HEAD, LAYERS = 6, 32, 16, 4
# A context is as long as the longest caption, rounded up to the registers: half the text costs half the time.
TEXT_LENGTH = REGISTERS = 64
VOCABULARY = 512

AUDIO_VAE = AudioVAEConfig(
    channels=16 * AUDIO_CHANNELS, channel_multipliers=(1, 2, 4), num_res_blocks=1, latent_channels=AUDIO_CHANNELS
)


def _res(layers: int) -> BlockConfig:
    return BlockConfig(kind="res_x", num_layers=layers)


def _resample(kind: str, multiplier: int) -> BlockConfig:
    return BlockConfig(kind=kind, multiplier=multiplier)


VIDEO_ENCODER = VideoEncoderConfig(
    in_channels=3,
    latent_channels=LATENT_CHANNELS,
    patch_size=4,
    blocks=(
        _res(2),
        _resample("compress_space_res", 2),
        _res(2),
        _resample("compress_time_res", 1),
        _res(2),
        _resample("compress_all_res", 2),
        _res(1),
        _resample("compress_all_res", 1),
        _res(1),
    ),
    padding="zeros",
    log_variance="uniform",
)
VIDEO_DECODER = VideoDecoderConfig(
    out_channels=3,
    latent_channels=LATENT_CHANNELS,
    base_channels=32,
    patch_size=4,
    blocks=(
        _res(2),
        _resample("compress_all", 2),
        _res(2),
        _resample("compress_all", 1),
        _res(2),
        _resample("compress_time", 1),
        _res(1),
        _resample("compress_space", 2),
        _res(1),
    ),
    padding="zeros",
    causal=False,
    timestep_conditioning=False,
)
VOCODER = replace(SHIPPED.vocoder, generator=replace(SHIPPED.vocoder.generator, initial_channels=128))


def _text_layer(window: int | None, theta: float) -> LayerConfig:
    return LayerConfig(num_heads=2, num_kv_heads=1, head_dim=32, scale=32**-0.5, window=window, rope_theta=theta)


TEXT = GemmaConfig(
    vocab_size=VOCABULARY,
    hidden_size=64,
    intermediate_size=256,
    rms_norm_eps=1e-6,
    layers=(_text_layer(TEXT_LENGTH, 1e4), _text_layer(TEXT_LENGTH, 1e4), _text_layer(None, 1e6)),
)


def _connector(head_dim: int) -> ConnectorConfig:
    return ConnectorConfig(num_layers=1, num_heads=HEADS, head_dim=head_dim, num_registers=REGISTERS, gated=True)


def _stream(head_dim: int, features: int, max_pos: tuple[float, ...]) -> StreamConfig:
    return StreamConfig(width=HEADS * head_dim, in_channels=features, out_channels=features, max_pos=max_pos)


TRAINED = Sizes(
    audio_vae=AUDIO_VAE,
    video_encoder=VIDEO_ENCODER,
    video_decoder=VIDEO_DECODER,
    vocoder=VOCODER,
    text=TEXT,
    projection=ProjectionConfig(
        hidden_size=TEXT.hidden_size,
        num_states=TEXT.num_states,
        video_features=HEADS * VIDEO_HEAD,
        audio_features=HEADS * AUDIO_HEAD,
    ),
    video_connector=_connector(VIDEO_HEAD),
    audio_connector=_connector(AUDIO_HEAD),
    transformer=TransformerConfig(
        num_layers=LAYERS,
        num_heads=HEADS,
        video=_stream(VIDEO_HEAD, LATENT_CHANNELS, (20, 2048, 2048)),
        audio=_stream(AUDIO_HEAD, AUDIO_CHANNELS * AUDIO_VAE.latent_bins, (20,)),
        caption_channels=None,
        text_modulation=True,
        prompt_embedder=True,
        gated_attention=True,
        keyframe_marker=False,
    ),
    text_length=TEXT_LENGTH,
    vocabulary=VOCABULARY,
)
