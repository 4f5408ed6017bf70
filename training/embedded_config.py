"""Sizes of the embedded tiny LTX-2.3, and the metadata that a published file of that structure carries.

19 million parameters, 39 MB in bfloat16: the smaller end of what the spec page embedded_model, section 9, recommends.

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
HEADS, VIDEO_HEAD, AUDIO_HEAD, LAYERS = 6, 32, 16, 4
CONTEXT_WIDTH = HEADS * (VIDEO_HEAD + AUDIO_HEAD)  # of conditioning: both contexts side by side
# A context is as long as the longest caption, rounded up to the registers: half the text costs half the time.
TEXT_LENGTH = REGISTERS = 64
VOCABULARY = 512

AUDIO_VAE = AudioVAEConfig(
    channels=16 * AUDIO_CHANNELS, channel_multipliers=(1, 2, 4), num_res_blocks=1, latent_channels=AUDIO_CHANNELS
)


def blocks(*entries: tuple[str, int]) -> tuple[BlockConfig, ...]:
    """(kind, layers of a res_x or multiplier of a resampling block), in build order."""
    return tuple(
        BlockConfig(kind=kind, num_layers=value) if kind == "res_x" else BlockConfig(kind=kind, multiplier=value)
        for kind, value in entries
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

_RES_KERNELS, _RES_DILATIONS = (3, 7, 11), ((1, 3, 5),) * 3
VOCODER = BandwidthExtensionConfig(
    generator=GeneratorConfig(
        initial_channels=128,
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


def _text() -> GemmaConfig:
    """Gemma 3 of three layers: two see a window as long as the text may be, one sees all."""

    def layer(window: int | None, theta: float) -> LayerConfig:
        return LayerConfig(num_heads=2, num_kv_heads=1, head_dim=32, scale=32**-0.5, window=window, rope_theta=theta)

    return GemmaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=256,
        rms_norm_eps=1e-6,
        layers=(layer(TEXT_LENGTH, 1e4), layer(TEXT_LENGTH, 1e4), layer(None, 1e6)),
    )


def _stream(head_dim: int, features: int, max_pos: tuple[float, ...]) -> StreamConfig:
    return StreamConfig(width=HEADS * head_dim, in_channels=features, out_channels=features, max_pos=max_pos)


def _connector(head_dim: int) -> ConnectorConfig:
    return ConnectorConfig(num_layers=1, num_heads=HEADS, head_dim=head_dim, num_registers=REGISTERS, gated=True)


TEXT = _text()
TRANSFORMER = TransformerConfig(
    num_layers=LAYERS,
    num_heads=HEADS,
    video=_stream(VIDEO_HEAD, LATENT_CHANNELS, (20, 2048, 2048)),
    audio=_stream(AUDIO_HEAD, AUDIO_CHANNELS * AUDIO_VAE.latent_bins, (20,)),
    caption_channels=None,
    text_modulation=True,
    prompt_embedder=True,
    gated_attention=True,
    keyframe_marker=False,
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
    projection=ProjectionConfig(
        hidden_size=TEXT.hidden_size,
        num_states=TEXT.num_states,
        video_features=HEADS * VIDEO_HEAD,
        audio_features=HEADS * AUDIO_HEAD,
    ),
    video_connector=_connector(VIDEO_HEAD),
    audio_connector=_connector(AUDIO_HEAD),
    transformer=TRANSFORMER,
    text_length=TEXT_LENGTH,
    vocabulary=VOCABULARY,
)


def metadata(sizes: Sizes = SHIPPED) -> dict[str, str]:
    """The safetensors metadata of the embedded file; all values are strings."""
    return embedded_metadata.metadata(sizes)
