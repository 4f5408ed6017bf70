"""Sizes of the networks that are trained to replace the random embedded ones (spec page embedded_model, section 9).

The smaller end of the recommendation: 19 million parameters, 38 MB in bfloat16.
"""

from __future__ import annotations

from dataclasses import replace

from ..networks.audio_vae import AudioVAEConfig
from ..networks.video_vae.config import VideoDecoderConfig, VideoEncoderConfig
from .embedded_config import (
    AUDIO_CHANNELS,
    AUDIO_HEAD,
    LATENT_CHANNELS,
    SHIPPED,
    VIDEO_HEAD,
    Sizes,
    blocks,
    connector_config,
    projection_config,
    text_config,
    transformer_config,
)

HEADS, LAYERS = 6, 4
# A context is as long as the longest caption, rounded up to the registers: half the text costs half the time.
TEXT_LENGTH = REGISTERS = 64
VOCABULARY = 512

AUDIO_VAE = AudioVAEConfig(
    channels=16 * AUDIO_CHANNELS, channel_multipliers=(1, 2, 4), num_res_blocks=1, latent_channels=AUDIO_CHANNELS
)


VIDEO_ENCODER = VideoEncoderConfig(
    in_channels=3,
    latent_channels=LATENT_CHANNELS,
    patch_size=4,
    blocks=blocks(
        ("res_x", 2),
        ("compress_space_res", 2),
        ("res_x", 2),
        ("compress_time_res", 1),
        ("res_x", 2),
        ("compress_all_res", 2),
        ("res_x", 1),
        ("compress_all_res", 1),
        ("res_x", 1),
    ),
    padding="zeros",
    log_variance="uniform",
)
VIDEO_DECODER = VideoDecoderConfig(
    out_channels=3,
    latent_channels=LATENT_CHANNELS,
    base_channels=32,
    patch_size=4,
    blocks=blocks(
        ("res_x", 2),
        ("compress_all", 2),
        ("res_x", 2),
        ("compress_all", 1),
        ("res_x", 2),
        ("compress_time", 1),
        ("res_x", 1),
        ("compress_space", 2),
        ("res_x", 1),
    ),
    padding="zeros",
    causal=False,
    timestep_conditioning=False,
)
VOCODER = replace(SHIPPED.vocoder, generator=replace(SHIPPED.vocoder.generator, initial_channels=128))
TEXT = text_config(VOCABULARY, TEXT_LENGTH)

TRAINED = Sizes(
    audio_vae=AUDIO_VAE,
    video_encoder=VIDEO_ENCODER,
    video_decoder=VIDEO_DECODER,
    vocoder=VOCODER,
    text=TEXT,
    projection=projection_config(TEXT, HEADS),
    video_connector=connector_config(HEADS, VIDEO_HEAD, REGISTERS),
    audio_connector=connector_config(HEADS, AUDIO_HEAD, REGISTERS),
    transformer=transformer_config(HEADS, LAYERS, AUDIO_VAE),
    text_length=TEXT_LENGTH,
    vocabulary=VOCABULARY,
)
