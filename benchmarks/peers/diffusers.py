"""diffusers, and transformers for Gemma 3, as the pipelines of diffusers call them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from torch import Tensor

from ..cases import LoadedCase
from ..layouts import DIFFUSERS_TRANSFORMER, DIFFUSERS_VOCODER, diffusers_video_vae, renamed
from ..measure import Run
from . import loaded

diffusers: Any = import_module("diffusers")  # not there where types are checked
STATISTICS = ("per_channel_statistics.mean-of-means", "per_channel_statistics.std-of-means")


def build(case: LoadedCase) -> Run:
    builders: dict[str, Callable[[LoadedCase], Run]] = {
        "transformer": _transformer,
        "video_decoder": _video_decoder,
        "video_encoder": _video_encoder,
        "vocoder": _vocoder,
        "gemma": _gemma,
    }
    return builders[case.component](case)


def _transformer(case: LoadedCase) -> Run:
    config, inputs, later = case.config, case.inputs, case.generation != "2"
    network = loaded(
        lambda: diffusers.LTX2VideoTransformer3DModel(
            num_attention_heads=config["num_attention_heads"],
            attention_head_dim=config["attention_head_dim"],
            cross_attention_dim=config["cross_attention_dim"],
            audio_num_attention_heads=config["num_attention_heads"],
            audio_attention_head_dim=config["audio_attention_head_dim"],
            audio_cross_attention_dim=config["audio_cross_attention_dim"],
            caption_channels=config["caption_channels"],
            num_layers=config["num_layers"],
            rope_type="split",
            gated_attn=later,
            audio_gated_attn=later,
            cross_attn_mod=later,
            audio_cross_attn_mod=later,
            use_prompt_embeddings=not later,
        ),
        renamed(case.tensors, DIFFUSERS_TRANSFORMER),
    )
    sigma = inputs["sigma"] * config["timestep_scale_multiplier"]

    def run() -> list[Tensor]:
        return list(
            network(
                inputs["video_latent"],
                inputs["audio_latent"],
                inputs["video_context"],
                inputs["audio_context"],
                timestep=sigma,
                sigma=sigma,
                video_coords=inputs["video_positions"],
                audio_coords=inputs["audio_positions"],
                use_cross_timestep=later,
                return_dict=False,
            )
        )

    return run


def _video_vae(case: LoadedCase, part: str) -> Any:
    """The block lists of 2.3 in this library's words; only the half that the case has is given weights."""
    base = case.config["decoder_base_channels"]
    return loaded(
        lambda: diffusers.AutoencoderKLLTX2Video(
            latent_channels=case.config["latent_channels"],
            block_out_channels=(2 * base, 4 * base, 8 * base, 8 * base),
            layers_per_block=(4, 6, 4, 2, 2),
            decoder_block_out_channels=(2 * base, 4 * base, 4 * base, 8 * base),
            decoder_layers_per_block=(4, 6, 4, 2, 2),
            spatio_temporal_scaling=(True,) * 4,
            decoder_spatio_temporal_scaling=(True,) * 4,
            decoder_inject_noise=(False,) * 5,
            downsample_type=("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
            upsample_type=("spatiotemporal", "spatiotemporal", "temporal", "spatial"),
            upsample_residual=(False,) * 4,
            upsample_factor=(2, 2, 1, 2),
            decoder_causal=False,
            decoder_spatial_padding_mode="zeros",
        ),
        diffusers_video_vae(case.tensors),
        missing=("latents_", "decoder." if part == "encoder" else "encoder."),
    )


def _statistics(case: LoadedCase) -> tuple[Tensor, Tensor]:
    mean, std = (case.tensors[name][:, None, None, None] for name in STATISTICS)
    return mean, std


def _video_decoder(case: LoadedCase) -> Run:
    network = _video_vae(case, "decoder")
    mean, std = _statistics(case)
    return lambda: [network.decode(case.inputs["latent"] * std + mean, return_dict=False)[0]]


def _video_encoder(case: LoadedCase) -> Run:
    network = _video_vae(case, "encoder")
    mean, std = _statistics(case)
    return lambda: [(network.encode(case.inputs["video"], return_dict=False)[0].mode() - mean) / std]


def _vocoder(case: LoadedCase) -> Run:
    vocoders: Any = import_module("diffusers.pipelines.ltx2.vocoder")
    state = renamed(case.tensors, DIFFUSERS_VOCODER)
    config = case.config
    if "bwe" in config:
        first, second = (config[name]["upsample_initial_channel"] for name in ("vocoder", "bwe"))
        network = loaded(lambda: vocoders.LTX2VocoderWithBWE(hidden_channels=first, bwe_hidden_channels=second), state)
    else:
        network = loaded(lambda: vocoders.LTX2Vocoder(hidden_channels=config["upsample_initial_channel"]), state)
    return lambda: [network(case.inputs["mel"])]


def _gemma(case: LoadedCase) -> Run:
    gemma3: Any = import_module("transformers.models.gemma3")
    names = ("model_type", "rope_theta", "rope_local_base_freq", "rope_scaling", "sliding_window_pattern")
    config = gemma3.Gemma3TextConfig(
        **{name: value for name, value in case.config.items() if name not in names},
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": case.config["rope_local_base_freq"]},
            "full_attention": {**case.config["rope_scaling"], "rope_theta": case.config["rope_theta"]},
        },
    )
    network = loaded(lambda: gemma3.Gemma3TextModel(config), case.tensors, missing=("inv_freq",))
    return lambda: list(network(case.inputs["ids"], output_hidden_states=True, use_cache=False).hidden_states)
