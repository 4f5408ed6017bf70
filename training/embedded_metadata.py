"""The metadata that a published file of the 2.3 structure carries, derived from the sizes of the networks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ..networks.audio_vae import AudioVAEConfig
from ..networks.text.gemma_config import GemmaConfig
from ..networks.video_vae.config import BlockConfig
from ..networks.vocoder import BandwidthExtensionConfig, GeneratorConfig

if TYPE_CHECKING:
    from .embedded_config import Sizes

MEL_BINS = 64
# The published shifts are made for thousands of tokens; a clip of this model has a hundred, and it was trained without.
SCHEDULER = {"max_shift": 0.0, "base_shift": 0.0, "stretch": False}


def metadata(sizes: Sizes) -> dict[str, str]:
    """The safetensors metadata of the embedded file; all values are strings."""
    config = {
        "transformer": _transformer(sizes),
        "vae": _video_vae(sizes),
        "audio_vae": _audio_vae(sizes.audio_vae),
        "vocoder": _vocoder(sizes.vocoder),
        "scheduler": SCHEDULER,
    }
    return {"model_version": "2.3.0", "config": json.dumps(config), "gemma_config": json.dumps(_gemma(sizes.text))}


def _transformer(sizes: Sizes) -> dict[str, Any]:
    transformer = sizes.transformer
    video, audio, heads = transformer.video, transformer.audio, transformer.num_heads
    assert video is not None
    assert audio is not None
    return {
        "_class_name": "AVTransformer3DModel",
        "num_layers": transformer.num_layers,
        "num_attention_heads": heads,
        "attention_head_dim": video.width // heads,
        "audio_num_attention_heads": heads,
        "audio_attention_head_dim": audio.width // heads,
        "in_channels": video.in_channels,
        "out_channels": video.out_channels,
        "audio_in_channels": audio.in_channels,
        "audio_out_channels": audio.out_channels,
        "cross_attention_dim": video.width,
        "audio_cross_attention_dim": audio.width,
        "positional_embedding_max_pos": list(video.max_pos),
        "audio_positional_embedding_max_pos": list(audio.max_pos),
        "positional_embedding_theta": transformer.rope.theta,
        "rope_type": "split",
        "frequencies_precision": "float64",
        "norm_eps": transformer.norm_eps,
        "timestep_scale_multiplier": transformer.timestep_scale,
        "av_ca_timestep_scale_multiplier": transformer.gate_timestep_scale,
        "use_middle_indices_grid": True,
        "causal_temporal_positioning": True,
        "apply_gated_attention": True,
        "cross_attention_adaln": True,
        "caption_channels": sizes.text.hidden_size,
        "caption_proj_before_connector": True,
        "caption_projection_first_linear": False,
        "caption_proj_input_norm": False,
        "caption_projection_second_linear": False,
        "text_encoder_norm_type": "per_token_rms",
        "use_embeddings_connector": True,
        "connector_num_layers": sizes.video_connector.num_layers,
        "connector_num_attention_heads": sizes.video_connector.num_heads,
        "connector_attention_head_dim": sizes.video_connector.head_dim,
        "audio_connector_num_attention_heads": sizes.audio_connector.num_heads,
        "audio_connector_attention_head_dim": sizes.audio_connector.head_dim,
        "connector_num_learnable_registers": sizes.video_connector.num_registers,
        "connector_positional_embedding_max_pos": [sizes.video_connector.max_position],
        "connector_apply_gated_attention": True,
    }


def _video_vae(sizes: Sizes) -> dict[str, Any]:
    encoder, decoder = sizes.video_encoder, sizes.video_decoder
    return {
        "_class_name": "CausalVideoAutoencoder",
        "dims": 3,
        "in_channels": encoder.in_channels,
        "out_channels": decoder.out_channels,
        "latent_channels": encoder.latent_channels,
        "encoder_blocks": [_block(block) for block in encoder.blocks],
        "decoder_blocks": [_block(block) for block in reversed(decoder.blocks)],
        "norm_layer": "pixel_norm",
        "patch_size": decoder.patch_size,
        "latent_log_var": encoder.log_variance,
        "causal_decoder": decoder.causal,
        "timestep_conditioning": decoder.timestep_conditioning,
        "encoder_base_channels": encoder.latent_channels,
        "decoder_base_channels": decoder.base_channels,
        "spatial_padding_mode": decoder.padding,
    }


def _block(block: BlockConfig) -> list[Any]:
    size = {"num_layers": block.num_layers} if block.kind == "res_x" else {"multiplier": block.multiplier}
    return [block.kind, size]


def _audio_vae(config: AudioVAEConfig) -> dict[str, Any]:
    ddconfig = {
        "double_z": True,
        "mel_bins": config.mel_bins,
        "z_channels": config.latent_channels,
        "in_channels": 2,
        "out_ch": 2,
        "ch": config.channels,
        "ch_mult": list(config.channel_multipliers),
        "num_res_blocks": config.num_res_blocks,
        "attn_resolutions": [],
        "mid_block_add_attention": config.mid_attention,
        "norm_type": "pixel",
        "causality_axis": "height",
    }
    stft = {"filter_length": config.n_fft, "hop_length": config.hop_length, "win_length": config.n_fft}
    return {
        "model": {"params": {"ddconfig": ddconfig, "sampling_rate": config.sampling_rate}},
        "preprocessing": {
            "audio": {"sampling_rate": config.sampling_rate, "stereo": True},
            "stft": {**stft, "causal": config.causal_positions},
            "mel": {"n_mel_channels": config.mel_bins, "mel_fmin": 0, "mel_fmax": config.sampling_rate // 2},
        },
    }


def _vocoder(config: BandwidthExtensionConfig) -> dict[str, Any]:
    first, second = config.generator, config.bwe_generator
    bands = {
        "input_sampling_rate": first.output_sampling_rate,
        "output_sampling_rate": second.output_sampling_rate,
        "hop_length": config.hop_length,
        "n_fft": config.n_fft,
        "win_size": config.n_fft,
        "num_mels": MEL_BINS,
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


def _gemma(config: GemmaConfig) -> dict[str, Any]:
    local, last = config.layers[0], config.layers[-1]
    return {
        "model_type": "gemma3_text",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "rms_norm_eps": config.rms_norm_eps,
        "num_hidden_layers": len(config.layers),
        "num_attention_heads": local.num_heads,
        "num_key_value_heads": local.num_kv_heads,
        "head_dim": local.head_dim,
        "query_pre_attn_scalar": local.head_dim,
        "sliding_window": local.window,
        "layer_types": ["full_attention" if layer.window is None else "sliding_attention" for layer in config.layers],
        "rope_local_base_freq": local.rope_theta,
        "rope_theta": last.rope_theta,
        "rope_scaling": None,
    }
