"""Sizes of the embedded tiny LTX-2.3, and the metadata that a published file of that structure carries.

One source: the networks are built from these dataclasses, the metadata are derived from them, and a test holds what
the loaders read from the finished file against them. Constraints on tiny widths: spec page embedded_model, section 2.
"""

from __future__ import annotations

import json
from typing import Any

from ..networks.audio_vae import AudioVAEConfig
from ..networks.text.connector import ConnectorConfig
from ..networks.text.features import ProjectionConfig
from ..networks.text.gemma_config import GemmaConfig, LayerConfig
from ..networks.transformer import StreamConfig, TransformerConfig
from ..networks.video_vae.config import BlockConfig, VideoDecoderConfig, VideoEncoderConfig
from ..networks.vocoder import BandwidthExtensionConfig, GeneratorConfig

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


def metadata() -> dict[str, str]:
    """The safetensors metadata of the embedded file; all values are strings."""
    config = {"transformer": _transformer(), "vae": _video_vae(), "audio_vae": _audio_vae(), "vocoder": _vocoder()}
    return {"model_version": "2.3.0", "config": json.dumps(config), "gemma_config": json.dumps(_gemma())}


def _transformer() -> dict[str, Any]:
    video, audio = TRANSFORMER.video, TRANSFORMER.audio
    assert video is not None
    assert audio is not None
    return {
        "_class_name": "AVTransformer3DModel",
        "num_layers": TRANSFORMER.num_layers,
        "num_attention_heads": HEADS,
        "attention_head_dim": VIDEO_HEAD,
        "audio_num_attention_heads": HEADS,
        "audio_attention_head_dim": AUDIO_HEAD,
        "in_channels": video.in_channels,
        "out_channels": video.out_channels,
        "audio_in_channels": audio.in_channels,
        "audio_out_channels": audio.out_channels,
        "cross_attention_dim": video.width,
        "audio_cross_attention_dim": audio.width,
        "positional_embedding_max_pos": list(video.max_pos),
        "audio_positional_embedding_max_pos": list(audio.max_pos),
        "positional_embedding_theta": TRANSFORMER.rope.theta,
        "rope_type": "split",
        "frequencies_precision": "float64",
        "norm_eps": TRANSFORMER.norm_eps,
        "timestep_scale_multiplier": TRANSFORMER.timestep_scale,
        "av_ca_timestep_scale_multiplier": TRANSFORMER.gate_timestep_scale,
        "use_middle_indices_grid": True,
        "causal_temporal_positioning": True,
        "apply_gated_attention": True,
        "cross_attention_adaln": True,
        "caption_channels": TEXT.hidden_size,
        "caption_proj_before_connector": True,
        "caption_projection_first_linear": False,
        "caption_proj_input_norm": False,
        "caption_projection_second_linear": False,
        "text_encoder_norm_type": "per_token_rms",
        "use_embeddings_connector": True,
        "connector_num_layers": VIDEO_CONNECTOR.num_layers,
        "connector_num_attention_heads": VIDEO_CONNECTOR.num_heads,
        "connector_attention_head_dim": VIDEO_CONNECTOR.head_dim,
        "audio_connector_num_attention_heads": AUDIO_CONNECTOR.num_heads,
        "audio_connector_attention_head_dim": AUDIO_CONNECTOR.head_dim,
        "connector_num_learnable_registers": REGISTERS,
        "connector_positional_embedding_max_pos": [VIDEO_CONNECTOR.max_position],
        "connector_apply_gated_attention": True,
    }


def _video_vae() -> dict[str, Any]:
    return {
        "_class_name": "CausalVideoAutoencoder",
        "dims": 3,
        "in_channels": VIDEO_ENCODER.in_channels,
        "out_channels": VIDEO_DECODER.out_channels,
        "latent_channels": LATENT_CHANNELS,
        "encoder_blocks": [_block(block) for block in VIDEO_ENCODER.blocks],
        "decoder_blocks": [_block(block) for block in reversed(VIDEO_DECODER.blocks)],
        "norm_layer": "pixel_norm",
        "patch_size": VIDEO_DECODER.patch_size,
        "latent_log_var": VIDEO_ENCODER.log_variance,
        "causal_decoder": VIDEO_DECODER.causal,
        "timestep_conditioning": VIDEO_DECODER.timestep_conditioning,
        "encoder_base_channels": LATENT_CHANNELS,
        "decoder_base_channels": VIDEO_DECODER.base_channels,
        "spatial_padding_mode": VIDEO_DECODER.padding,
    }


def _block(block: BlockConfig) -> list[Any]:
    size = {"num_layers": block.num_layers} if block.kind == "res_x" else {"multiplier": block.multiplier}
    return [block.kind, size]


def _audio_vae() -> dict[str, Any]:
    ddconfig = {
        "double_z": True,
        "mel_bins": AUDIO_VAE.mel_bins,
        "z_channels": AUDIO_VAE.latent_channels,
        "in_channels": 2,
        "out_ch": 2,
        "ch": AUDIO_VAE.channels,
        "ch_mult": list(AUDIO_VAE.channel_multipliers),
        "num_res_blocks": AUDIO_VAE.num_res_blocks,
        "attn_resolutions": [],
        "mid_block_add_attention": AUDIO_VAE.mid_attention,
        "norm_type": "pixel",
        "causality_axis": "height",
    }
    stft = {"filter_length": AUDIO_VAE.n_fft, "hop_length": AUDIO_VAE.hop_length, "win_length": AUDIO_VAE.n_fft}
    return {
        "model": {"params": {"ddconfig": ddconfig, "sampling_rate": AUDIO_VAE.sampling_rate}},
        "preprocessing": {
            "audio": {"sampling_rate": AUDIO_VAE.sampling_rate, "stereo": True},
            "stft": {**stft, "causal": AUDIO_VAE.causal_positions},
            "mel": {"n_mel_channels": AUDIO_VAE.mel_bins, "mel_fmin": 0, "mel_fmax": AUDIO_VAE.sampling_rate // 2},
        },
    }


def _vocoder() -> dict[str, Any]:
    first, second = VOCODER.generator, VOCODER.bwe_generator
    bands = {
        "input_sampling_rate": first.output_sampling_rate,
        "output_sampling_rate": second.output_sampling_rate,
        "hop_length": VOCODER.hop_length,
        "n_fft": VOCODER.n_fft,
        "win_size": VOCODER.n_fft,
        "num_mels": AUDIO_VAE.mel_bins,
    }
    return {"vocoder": _generator(first), "bwe": {**_generator(second), **bands}}


def _generator(generator: GeneratorConfig) -> dict[str, Any]:
    return {
        "upsample_initial_channel": generator.initial_channels,
        "resblock": "AMP1",
        "upsample_rates": list(generator.upsample_rates),
        "upsample_kernel_sizes": list(generator.upsample_kernel_sizes),
        "resblock_kernel_sizes": list(generator.resblock_kernel_sizes),
        "resblock_dilation_sizes": [list(row) for row in generator.resblock_dilation_sizes],
        "stereo": True,
        "activation": generator.activation,
        "use_tanh_at_final": False,
        "use_bias_at_final": generator.final_bias,
    }


def _gemma() -> dict[str, Any]:
    local, last = TEXT.layers[0], TEXT.layers[-1]
    return {
        "model_type": "gemma3_text",
        "vocab_size": TEXT.vocab_size,
        "hidden_size": TEXT.hidden_size,
        "intermediate_size": TEXT.intermediate_size,
        "rms_norm_eps": TEXT.rms_norm_eps,
        "num_hidden_layers": len(TEXT.layers),
        "num_attention_heads": local.num_heads,
        "num_key_value_heads": local.num_kv_heads,
        "head_dim": local.head_dim,
        "query_pre_attn_scalar": local.head_dim,
        "sliding_window": local.window,
        "layer_types": ["full_attention" if layer.window is None else "sliding_attention" for layer in TEXT.layers],
        "rope_local_base_freq": local.rope_theta,
        "rope_theta": last.rope_theta,
        "rope_scaling": None,
    }
