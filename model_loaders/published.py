"""The published models at full size: configurations by name, and their networks by prefix, without any file.

For whoever needs sizes before there are weights: parameter counts, memory plans, benchmarks. A test holds every name
and shape against the lists of the published files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import nn

from ..networks.audio_vae import AudioDecoder, AudioEncoder, AudioVAEConfig
from ..networks.latent_upscaler import LatentUpscaler
from ..networks.latent_upscaler.config import LatentUpscalerConfig
from ..networks.text.connector import Connector, ConnectorConfig
from ..networks.text.duration import DurationHead, DurationHeadConfig
from ..networks.text.features import ProjectionConfig, SeparateProjection, SharedProjection
from ..networks.text.gemma3 import Gemma3
from ..networks.text.gemma4 import Gemma4
from ..networks.text.gemma_config import GemmaConfig, LayerConfig
from ..networks.transformer import StreamConfig, Transformer, TransformerConfig
from ..networks.video_vae.config import BlockConfig, VideoDecoderConfig, VideoEncoderConfig
from ..networks.video_vae.decoder import VideoDecoder
from ..networks.video_vae.diffusion.config import DiffusionDecoderConfig, Upsampling
from ..networks.video_vae.diffusion.decoder import DiffusionDecoder
from ..networks.video_vae.encoder import VideoEncoder
from ..networks.vocoder import BandwidthExtensionConfig, BandwidthExtensionVocoder, Generator, GeneratorConfig

Build = Callable[[], nn.Module]

AUDIO_VAE = AudioVAEConfig()


@dataclass(frozen=True, kw_only=True)
class PublishedModel:
    """One generation: its main configurations, and how to build every network that its files hold."""

    generation: str
    transformer: TransformerConfig
    video_decoder: VideoDecoderConfig
    text: GemmaConfig
    networks: dict[str, Build]  # by component


def published_model(name: str) -> PublishedModel:
    """The model of a name in `PUBLISHED`. Raises ValueError, with the names, for another one."""
    if name not in PUBLISHED:
        raise ValueError(f"model {name!r}: expected one of {', '.join(PUBLISHED)}")
    return PUBLISHED[name]()


def _transformer(*, gated: bool, video_bias: bool, keyframes: bool) -> TransformerConfig:
    return TransformerConfig(
        num_layers=48,
        num_heads=32,
        video=StreamConfig(
            width=4096, in_channels=128, out_channels=128, max_pos=(20, 2048, 2048), feed_forward_bias=video_bias
        ),
        audio=StreamConfig(width=2048, in_channels=128, out_channels=128, max_pos=(20,)),
        caption_channels=None if gated else 3840,
        text_modulation=gated,
        prompt_embedder=gated,
        gated_attention=gated,
        keyframe_marker=keyframes,
    )


TRANSFORMER_2 = _transformer(gated=False, video_bias=True, keyframes=False)
TRANSFORMER_2_3 = _transformer(gated=True, video_bias=True, keyframes=False)
TRANSFORMER_2_5 = _transformer(gated=True, video_bias=False, keyframes=True)


def _blocks(*entries: tuple[str, int], residual: bool = False) -> tuple[BlockConfig, ...]:
    """(kind, layers of a res_x or multiplier of a resampling block), in build order."""
    return tuple(
        BlockConfig(kind=kind, num_layers=value)
        if kind == "res_x"
        else BlockConfig(kind=kind, multiplier=value, residual=residual)
        for kind, value in entries
    )


def _video_encoder(third_res: int, last_multiplier: int) -> VideoEncoderConfig:
    return VideoEncoderConfig(
        in_channels=3,
        latent_channels=128,
        patch_size=4,
        blocks=_blocks(
            *(("res_x", 4), ("compress_space_res", 2), ("res_x", 6), ("compress_time_res", 2), ("res_x", third_res)),
            *(("compress_all_res", 2), ("res_x", 2), ("compress_all_res", last_multiplier), ("res_x", 2)),
        ),
        padding="zeros",
        log_variance="uniform",
    )


VIDEO_ENCODER_2, VIDEO_ENCODER_2_3 = _video_encoder(6, 2), _video_encoder(4, 1)
VIDEO_DECODER_2_3 = VideoDecoderConfig(
    out_channels=3,
    latent_channels=128,
    base_channels=128,
    patch_size=4,
    blocks=_blocks(
        *(("res_x", 2), ("compress_all", 2), ("res_x", 2), ("compress_all", 1), ("res_x", 4)),
        *(("compress_time", 2), ("res_x", 6), ("compress_space", 2), ("res_x", 4)),
    ),
    padding="zeros",
    causal=False,
    timestep_conditioning=False,
)
VIDEO_DECODER_2 = replace(
    VIDEO_DECODER_2_3,
    blocks=_blocks(*(("res_x", 5), ("compress_all", 2)) * 3, ("res_x", 5), residual=True),
    padding="reflect",
)
DIFFUSION_DECODER = DiffusionDecoderConfig(
    latent_channels=128,
    out_channels=3,
    patch_size=4,
    head_dim=64,
    channels=(2048, 1024, 512, 512, 256),
    depths=(4, 6, 4, 2, 8),
    kernels=((3, 7, 7), (3, 7, 7), (3, 5, 5), (3, 5, 5), (11, 11, 11)),
    upsamplings=tuple(
        Upsampling(stride=stride, reduction=reduction)
        for stride, reduction in (((1, 2, 2), 2), ((2, 1, 1), 2), ((2, 2, 2), 1), ((2, 2, 2), 2))
    ),
    time_channels=384,
    timestep_scale=1000.0,
    steps=1,
    prediction="x0",
)

_DILATIONS = ((1, 3, 5),) * 3
VOCODER_2 = GeneratorConfig(
    initial_channels=1024,
    upsample_rates=(6, 5, 2, 2, 2),
    upsample_kernel_sizes=(16, 15, 8, 4, 4),
    resblock_kernel_sizes=(3, 7, 11),
    resblock_dilation_sizes=_DILATIONS,
    activation="leaky_relu",
    final_activation="tanh",
    final_bias=True,
    output_sampling_rate=24000,
)
VOCODER_2_3 = BandwidthExtensionConfig(
    generator=GeneratorConfig(
        initial_channels=1536,
        upsample_rates=(5, 2, 2, 2, 2, 2),
        upsample_kernel_sizes=(11, 4, 4, 4, 4, 4),
        resblock_kernel_sizes=(3, 7, 11),
        resblock_dilation_sizes=_DILATIONS,
        activation="snakebeta",
        final_activation="clamp",
        final_bias=False,
        output_sampling_rate=16000,
    ),
    bwe_generator=GeneratorConfig(
        initial_channels=512,
        upsample_rates=(6, 5, 2, 2, 2),
        upsample_kernel_sizes=(12, 11, 4, 4, 4),
        resblock_kernel_sizes=(3, 7, 11),
        resblock_dilation_sizes=_DILATIONS,
        activation="snakebeta",
        final_activation="none",
        final_bias=False,
        output_sampling_rate=48000,
    ),
    n_fft=512,
    hop_length=80,
)


def _gemma(local: LayerConfig, every_sixth: LayerConfig, *, vocabulary: int, cap: float | None) -> GemmaConfig:
    return GemmaConfig(
        vocab_size=vocabulary,
        hidden_size=3840,
        intermediate_size=15360,
        rms_norm_eps=1e-6,
        layers=tuple(every_sixth if (index + 1) % 6 == 0 else local for index in range(48)),
        logit_cap=cap,
    )


_LOCAL = LayerConfig(num_heads=16, num_kv_heads=8, head_dim=256, scale=1 / 16, window=1024, rope_theta=1e4)
GEMMA_3 = _gemma(_LOCAL, replace(_LOCAL, window=None, rope_theta=1e6, rope_factor=8.0), vocabulary=262208, cap=None)
GEMMA_4 = _gemma(
    replace(_LOCAL, scale=1.0),
    LayerConfig(
        num_heads=16,
        num_kv_heads=1,
        head_dim=512,
        scale=1.0,
        window=None,
        rope_theta=1e6,
        rotated_pairs=64,
        values_are_keys=True,
    ),
    vocabulary=262144,
    cap=30.0,
)
CONNECTOR_2 = ConnectorConfig(num_layers=2, num_heads=30, head_dim=128, num_registers=128, gated=False)
VIDEO_CONNECTOR, AUDIO_CONNECTOR = (
    ConnectorConfig(num_layers=8, num_heads=32, head_dim=width, num_registers=128, gated=True) for width in (128, 64)
)
PROJECTION_2 = ProjectionConfig(hidden_size=3840, num_states=49, video_features=3840)
PROJECTION_2_3 = replace(PROJECTION_2, video_features=4096, audio_features=2048)
DURATION_HEAD = DurationHeadConfig(
    video_width=4096, audio_width=2048, hidden_size=256, mlp_size=256, num_queries=1, num_heads=4
)

UPSCALER_X2_2_3 = LatentUpscalerConfig(
    in_channels=128, mid_channels=1024, num_blocks_per_stage=4, dims=3, resampler="spatial", ratio=(2, 1)
)
UPSCALER_X2_2 = replace(UPSCALER_X2_2_3, resampler="rational")
UPSCALER_X1_5 = replace(UPSCALER_X2_2_3, resampler="rational", ratio=(3, 2))
UPSCALER_TEMPORAL = replace(UPSCALER_X2_2_3, mid_channels=512, resampler="temporal", ratio=(1, 1))


def _ltx2() -> PublishedModel:
    return PublishedModel(
        generation="2",
        transformer=TRANSFORMER_2,
        video_decoder=VIDEO_DECODER_2,
        text=GEMMA_3,
        networks={
            "transformer": lambda: Transformer(TRANSFORMER_2),
            "video connector": lambda: Connector(CONNECTOR_2),
            "audio connector": lambda: Connector(CONNECTOR_2),
            "text projection": lambda: SharedProjection(PROJECTION_2),
            "text encoder": lambda: Gemma3(GEMMA_3),
            "video encoder": lambda: VideoEncoder(VIDEO_ENCODER_2),
            "video decoder": lambda: VideoDecoder(VIDEO_DECODER_2),
            **_audio(lambda: Generator(VOCODER_2)),
            "spatial upscaler x2": lambda: LatentUpscaler(UPSCALER_X2_2),
            "temporal upscaler x2": lambda: LatentUpscaler(UPSCALER_TEMPORAL),
        },
    )


def _ltx2_3() -> PublishedModel:
    return PublishedModel(
        generation="2.3",
        transformer=TRANSFORMER_2_3,
        video_decoder=VIDEO_DECODER_2_3,
        text=GEMMA_3,
        networks={
            "transformer": lambda: Transformer(TRANSFORMER_2_3),
            **_text_since_2_3(lambda: Gemma3(GEMMA_3)),
            "video encoder": lambda: VideoEncoder(VIDEO_ENCODER_2_3),
            "video decoder": lambda: VideoDecoder(VIDEO_DECODER_2_3),
            **_audio(lambda: BandwidthExtensionVocoder(VOCODER_2_3)),
            "spatial upscaler x2": lambda: LatentUpscaler(UPSCALER_X2_2_3),
            "spatial upscaler x1.5": lambda: LatentUpscaler(UPSCALER_X1_5),
            "temporal upscaler x2": lambda: LatentUpscaler(UPSCALER_TEMPORAL),
        },
    )


def _ltx2_5() -> PublishedModel:
    return PublishedModel(
        generation="2.5",
        transformer=TRANSFORMER_2_5,
        video_decoder=VIDEO_DECODER_2_3,
        text=GEMMA_4,
        networks={
            "transformer": lambda: Transformer(TRANSFORMER_2_5),
            **_text_since_2_3(lambda: Gemma4(GEMMA_4)),
            "duration head": lambda: DurationHead(DURATION_HEAD),
            "video encoder": lambda: VideoEncoder(VIDEO_ENCODER_2_3),
            "video decoder": lambda: VideoDecoder(VIDEO_DECODER_2_3),
            "diffusion decoder": lambda: DiffusionDecoder(DIFFUSION_DECODER),
            **_audio(lambda: BandwidthExtensionVocoder(VOCODER_2_3)),
            "spatial upscaler x2": lambda: LatentUpscaler(UPSCALER_X2_2_3),
            "temporal upscaler x2": lambda: LatentUpscaler(UPSCALER_TEMPORAL),
        },
    )


def _text_since_2_3(encoder: Build) -> dict[str, Build]:
    return {
        "video connector": lambda: Connector(VIDEO_CONNECTOR),
        "audio connector": lambda: Connector(AUDIO_CONNECTOR),
        "text projection": lambda: SeparateProjection(PROJECTION_2_3),
        "text encoder": encoder,
    }


def _audio(vocoder: Build) -> dict[str, Build]:
    return {
        "audio encoder": lambda: AudioEncoder(AUDIO_VAE),
        "audio decoder": lambda: AudioDecoder(AUDIO_VAE),
        "vocoder": vocoder,
    }


PUBLISHED: dict[str, Callable[[], PublishedModel]] = {
    "ltx-2-19b": _ltx2,
    "ltx-2.3-22b": _ltx2_3,
    "ltx-2.5-22b": _ltx2_5,
}
