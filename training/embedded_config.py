"""Sizes of the embedded tiny LTX-2.3, and the metadata that a published file of that structure carries.

One source: the networks are built from these dataclasses, the metadata are derived from them, and a test holds what
the loaders read from the finished file against them. Constraints on tiny widths: spec page embedded_model, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..networks.audio_vae import AudioVAEConfig
from ..networks.text.connector import ConnectorConfig
from ..networks.text.features import ProjectionConfig
from ..networks.text.gemma_config import GemmaConfig, LayerConfig
from ..networks.transformer import StreamConfig, TransformerConfig
from ..networks.video_vae.config import BlockConfig, VideoDecoderConfig, VideoEncoderConfig
from ..networks.vocoder import BandwidthExtensionConfig, GeneratorConfig
from . import embedded_metadata

FILE_NAME = "openltx-tiny-2.3.safetensors"
LATENT_CHANNELS, AUDIO_CHANNELS = 32, 2
HEADS, VIDEO_HEAD, AUDIO_HEAD = 4, 32, 16
TEXT_LENGTH, REGISTERS, VOCABULARY = 128, 128, 768

AUDIO_VAE = AudioVAEConfig(
    channels=16 * AUDIO_CHANNELS, channel_multipliers=(1, 2, 2), num_res_blocks=1, latent_channels=AUDIO_CHANNELS
)

TRANSFORMER = TransformerConfig(
    num_layers=4,
    num_heads=HEADS,
    video=StreamConfig(
        width=HEADS * VIDEO_HEAD,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        max_pos=(20, 2048, 2048),
    ),
    audio=StreamConfig(
        width=HEADS * AUDIO_HEAD,
        in_channels=AUDIO_CHANNELS * AUDIO_VAE.latent_bins,
        out_channels=AUDIO_CHANNELS * AUDIO_VAE.latent_bins,
        max_pos=(20,),
    ),
    caption_channels=None,
    text_modulation=True,
    prompt_embedder=True,
    gated_attention=True,
    keyframe_marker=False,
)


def _blocks(*entries: tuple[str, int]) -> tuple[BlockConfig, ...]:
    """(kind, layers of a res_x or multiplier of a resampling block), in build order."""
    return tuple(
        BlockConfig(kind=kind, num_layers=value) if kind == "res_x" else BlockConfig(kind=kind, multiplier=value)
        for kind, value in entries
    )


VIDEO_ENCODER = VideoEncoderConfig(
    in_channels=3,
    latent_channels=LATENT_CHANNELS,
    patch_size=4,
    blocks=_blocks(
        ("res_x", 1),
        ("compress_space_res", 1),
        ("res_x", 1),
        ("compress_time_res", 2),
        ("res_x", 1),
        ("compress_all_res", 1),
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
    base_channels=16,
    patch_size=4,
    blocks=_blocks(
        ("res_x", 1),
        ("compress_all", 2),
        ("res_x", 1),
        ("compress_all", 1),
        ("res_x", 1),
        ("compress_time", 1),
        ("res_x", 1),
        ("compress_space", 2),
        ("res_x", 1),
    ),
    padding="zeros",
    causal=False,
    timestep_conditioning=False,
)

_RES_KERNELS, _RES_DILATIONS = (3, 7, 11), ((1, 3, 5),) * 3
VOCODER = BandwidthExtensionConfig(
    generator=GeneratorConfig(
        initial_channels=64,
        upsample_rates=(5, 2, 2, 2, 2, 2),
        upsample_kernel_sizes=(11, 4, 4, 4, 4, 4),
        resblock_kernel_sizes=_RES_KERNELS,
        resblock_dilation_sizes=_RES_DILATIONS,
        activation="snakebeta",
        final_activation="clamp",
        final_bias=False,
        output_sampling_rate=16000,
    ),
    bwe_generator=GeneratorConfig(
        initial_channels=32,
        upsample_rates=(6, 5, 2, 2, 2),
        upsample_kernel_sizes=(12, 11, 4, 4, 4),
        resblock_kernel_sizes=_RES_KERNELS,
        resblock_dilation_sizes=_RES_DILATIONS,
        activation="snakebeta",
        final_activation="none",
        final_bias=False,
        output_sampling_rate=48000,
    ),
    n_fft=512,
    hop_length=80,
)


def _text_layer(window: int | None, theta: float) -> LayerConfig:
    return LayerConfig(num_heads=2, num_kv_heads=1, head_dim=32, scale=32**-0.5, window=window, rope_theta=theta)


TEXT = GemmaConfig(
    vocab_size=VOCABULARY,
    hidden_size=64,
    intermediate_size=256,
    rms_norm_eps=1e-6,
    layers=(_text_layer(TEXT_LENGTH, 1e4), _text_layer(TEXT_LENGTH, 1e4), _text_layer(None, 1e6)),
)
PROJECTION = ProjectionConfig(
    hidden_size=TEXT.hidden_size,
    num_states=TEXT.num_states,
    video_features=HEADS * VIDEO_HEAD,
    audio_features=HEADS * AUDIO_HEAD,
)
VIDEO_CONNECTOR, AUDIO_CONNECTOR = (
    ConnectorConfig(num_layers=1, num_heads=HEADS, head_dim=width, num_registers=REGISTERS, gated=True)
    for width in (VIDEO_HEAD, AUDIO_HEAD)
)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """One set of networks that fit together."""

    audio_vae: AudioVAEConfig
    video_encoder: VideoEncoderConfig
    video_decoder: VideoDecoderConfig
    vocoder: BandwidthExtensionConfig
    text: GemmaConfig
    projection: ProjectionConfig
    video_connector: ConnectorConfig
    audio_connector: ConnectorConfig
    transformer: TransformerConfig
    text_length: int
    vocabulary: int


SHIPPED = Sizes(
    audio_vae=AUDIO_VAE,
    video_encoder=VIDEO_ENCODER,
    video_decoder=VIDEO_DECODER,
    vocoder=VOCODER,
    text=TEXT,
    projection=PROJECTION,
    video_connector=VIDEO_CONNECTOR,
    audio_connector=AUDIO_CONNECTOR,
    transformer=TRANSFORMER,
    text_length=TEXT_LENGTH,
    vocabulary=VOCABULARY,
)


def metadata(sizes: Sizes = SHIPPED) -> dict[str, str]:
    """The safetensors metadata of the embedded file; all values are strings."""
    return embedded_metadata.metadata(sizes)
