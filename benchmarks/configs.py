"""Configurations as published files carry them, at other widths (spec pages transformer, video_vae, audio, text)."""

from __future__ import annotations

from typing import Any

Config = dict[str, Any]

HEADS = 32
VIDEO_HEAD, AUDIO_HEAD, CAPTION = 128, 64, 3840  # published widths: 4096 and 2048


def transformer(generation: str, *, layers: int, share: int) -> Config:
    """`config["transformer"]` at 1/`share` of the published widths: fewer heads of the published width."""
    heads = HEADS // share
    common: Config = {
        "_class_name": "AVTransformer3DModel",
        "activation_fn": "gelu-approximate",
        "attention_bias": True,
        "attention_head_dim": VIDEO_HEAD,
        "audio_attention_head_dim": AUDIO_HEAD,
        "attention_type": "default",
        "caption_channels": CAPTION // share,
        "cross_attention_dim": heads * VIDEO_HEAD,
        "audio_cross_attention_dim": heads * AUDIO_HEAD,
        "in_channels": 128,
        "out_channels": 128,
        "audio_out_channels": 128,
        "norm_elementwise_affine": False,
        "norm_eps": 1e-6,
        "num_attention_heads": heads,
        "audio_num_attention_heads": heads,
        "num_layers": layers,
        "dropout": 0.0,
        "double_self_attention": False,
        "only_cross_attention": False,
        "upcast_attention": False,
        "use_linear_projection": False,
        "norm_num_groups": 32,
        "num_embeds_ada_norm": 1000,
        "num_vector_embeds": None,
        "cross_attention_norm": True,
        "qk_norm": "rms_norm",
        "standardization_norm": "rms_norm",
        "positional_embedding_type": "rope",
        "positional_embedding_theta": 10000.0,
        "positional_embedding_max_pos": [20, 2048, 2048],
        "audio_positional_embedding_max_pos": [20],
        "timestep_scale_multiplier": 1000,
        "av_ca_timestep_scale_multiplier": 1000.0,
        "causal_temporal_positioning": True,
        "use_audio_video_cross_attention": True,
        "share_ff": False,
        "av_cross_ada_norm": True,
        "use_middle_indices_grid": True,
        "rope_type": "split",
        "frequencies_precision": "float64",
    }
    return common if generation == "2" else common | TRANSFORMER_23


TRANSFORMER_23: Config = {
    "apply_gated_attention": True,
    "caption_projection_first_linear": False,
    "caption_projection_second_linear": False,
    "caption_proj_input_norm": False,
    "caption_proj_before_connector": True,
    "text_encoder_norm_type": "per_token_rms",
    "cross_attention_adaln": True,
}


def video_vae(*, channels: int) -> Config:
    """`config["vae"]`: the block lists of 2.3; published: 128 channels."""
    return {
        "_class_name": "CausalVideoAutoencoder",
        "dims": 3,
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": channels,
        "encoder_blocks": [
            ["res_x", {"num_layers": 4}],
            ["compress_space_res", {"multiplier": 2}],
            ["res_x", {"num_layers": 6}],
            ["compress_time_res", {"multiplier": 2}],
            ["res_x", {"num_layers": 4}],
            ["compress_all_res", {"multiplier": 2}],
            ["res_x", {"num_layers": 2}],
            ["compress_all_res", {"multiplier": 1}],
            ["res_x", {"num_layers": 2}],
        ],
        "decoder_blocks": [
            ["res_x", {"num_layers": 4}],
            ["compress_space", {"multiplier": 2}],
            ["res_x", {"num_layers": 6}],
            ["compress_time", {"multiplier": 2}],
            ["res_x", {"num_layers": 4}],
            ["compress_all", {"multiplier": 1}],
            ["res_x", {"num_layers": 2}],
            ["compress_all", {"multiplier": 2}],
            ["res_x", {"num_layers": 2}],
        ],
        "scaling_factor": 1.0,
        "norm_layer": "pixel_norm",
        "patch_size": 4,
        "latent_log_var": "uniform",
        "use_quant_conv": False,
        "causal_decoder": False,
        "timestep_conditioning": False,
        "normalize_latent_channels": False,
        "encoder_base_channels": channels,
        "decoder_base_channels": channels,
        "spatial_padding_mode": "zeros",
    }


def vocoder(generation: str, *, share: int = 1) -> Config:
    """`config["vocoder"]`, at 1/`share` of the published width."""
    residual = {
        "resblock_kernel_sizes": [3, 7, 11],
        "resblock_dilation_sizes": [[1, 3, 5]] * 3,
        "stereo": True,
    }
    if generation == "2":
        return residual | {
            "resblock": "1",
            "upsample_initial_channel": 1024 // share,
            "upsample_rates": [6, 5, 2, 2, 2],
            "upsample_kernel_sizes": [16, 15, 8, 4, 4],
        }
    snake = residual | {
        "resblock": "AMP1",
        "activation": "snakebeta",
        "use_tanh_at_final": False,
        "use_bias_at_final": False,
    }
    first = snake | {
        "upsample_initial_channel": 1536 // share,
        "upsample_rates": [5, 2, 2, 2, 2, 2],
        "upsample_kernel_sizes": [11, 4, 4, 4, 4, 4],
    }
    second = snake | {
        "upsample_initial_channel": 512 // share,
        "upsample_rates": [6, 5, 2, 2, 2],
        "upsample_kernel_sizes": [12, 11, 4, 4, 4],
        "apply_final_activation": False,
        "input_sampling_rate": 16000,
        "output_sampling_rate": 48000,
        "hop_length": 80,
        "n_fft": 512,
        "win_size": 512,
        "num_mels": 64,
    }
    return {"vocoder": first, "bwe": second}


def gemma(*, layers: int, share: int = 1) -> Config:
    """`text_config` of Gemma 3 12B with fewer layers, at 1/`share` of its width.

    The embedding table is cut to 4096 rows: it costs 4 GB in float32 and no time.
    """
    return {
        "model_type": "gemma3_text",
        "vocab_size": 4096,
        "hidden_size": 3840 // share,
        "intermediate_size": 15360 // share,
        "num_hidden_layers": layers,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 256,
        "query_pre_attn_scalar": 256,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "rope_local_base_freq": 1e4,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        "sliding_window": 1024,
        "sliding_window_pattern": 6,
    }
