"""OpenLTX as its nodes use it, but for the transformer's step-independent part, which is made anew in each call."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor, nn

from ...model_loaders.assemble import assign, build_on_meta
from ...model_loaders.checkpoint import Checkpoint, TensorEntry, open_checkpoint
from ...model_loaders.gemma_config import gemma3_config
from ...model_loaders.transformer import load_transformer
from ...model_loaders.video_vae import load_video_decoder, load_video_encoder, video_vae_config
from ...model_loaders.vocoder import load_vocoder
from ...networks.text.gemma3 import Gemma3
from ...networks.transformer import Stream, StreamConfig, Transformer, TransformerConfig
from ...networks.video_vae.decoder import VideoDecoder
from ...networks.video_vae.encoder import VideoEncoder
from ...networks.vocoder import BandwidthExtensionConfig, BandwidthExtensionVocoder, Generator, GeneratorConfig
from ..cases import PREFIXES, Case, LoadedCase
from ..configs import Config
from ..measure import Run

Shapes = Mapping[str, tuple[int, ...]]


def build(case: LoadedCase) -> Run:
    """The network with the weights of the case → what to time."""
    builders: dict[str, Callable[[LoadedCase], Run]] = {
        "transformer": _transformer,
        "video_decoder": _video_decoder,
        "video_stream": _video_stream,
        "video_encoder": _video_encoder,
        "vocoder": _vocoder,
        "gemma": _gemma,
    }
    return builders[case.component](case)


def transformer_call(network: Transformer, case: LoadedCase) -> Run:
    inputs = case.inputs

    def stream(name: str) -> Stream:
        return Stream(
            latent=inputs[f"{name}_latent"],
            sigma=inputs["sigma"],
            timesteps=inputs["sigma"][:, None, None],
            positions=inputs[f"{name}_positions"],
            context=inputs[f"{name}_context"],
        )

    def run() -> list[Tensor]:
        video, audio = network(stream("video"), stream("audio"))
        assert video is not None
        assert audio is not None
        return [video, audio]

    return run


def _transformer(case: LoadedCase) -> Run:
    return transformer_call(load_transformer(open_checkpoint(case.path)).to(case.device, case.dtype), case)


def _video_decoder(case: LoadedCase) -> Run:
    network = load_video_decoder(open_checkpoint(case.path)).to(case.device, case.dtype)
    return lambda: [network.decode(case.inputs["latent"])]


def _video_stream(case: LoadedCase) -> Run:
    """Decode without keeping what comes out, as a writer of a file does."""
    network = load_video_decoder(open_checkpoint(case.path)).to(case.device, case.dtype)

    def run() -> list[Tensor]:
        for _ in network.decode_stream(case.inputs["latent"]):
            pass
        return []

    return run


def _video_encoder(case: LoadedCase) -> Run:
    network = load_video_encoder(open_checkpoint(case.path)).to(case.device, case.dtype)
    return lambda: [network.encode(case.inputs["video"])]


def _vocoder(case: LoadedCase) -> Run:
    network = load_vocoder(open_checkpoint(case.path)).to(case.device, case.dtype)
    return lambda: [network(case.inputs["mel"])]


def _gemma(case: LoadedCase) -> Run:
    network = assign(build_on_meta(lambda: Gemma3(gemma3_config(case.config))), case.tensors)
    return lambda: list(network.hidden_states(case.inputs["ids"]))


def shapes(case: Case) -> Shapes:
    """Published names, without prefix, and shapes of all that the case needs."""
    config = case.config
    if case.component == "transformer":
        return _shapes(lambda: Transformer(transformer_config(config)))
    if case.component == "gemma":
        return _shapes(lambda: Gemma3(gemma3_config(config)))
    if case.component == "vocoder":
        return _shapes(lambda: _build_vocoder(config))
    vae = video_vae_config(_header_only(case))
    if case.component == "video_encoder":
        return _half(_shapes(lambda: VideoEncoder(vae.encoder)), "encoder.")
    decoder = vae.decoder
    assert decoder is not None
    return _half(_shapes(lambda: VideoDecoder(decoder)), "decoder.")


def transformer_config(config: Config) -> TransformerConfig:
    later = bool(config.get("cross_attention_adaln"))
    video, audio = (
        StreamConfig(
            width=config["num_attention_heads"] * config[f"{prefix}attention_head_dim"],
            in_channels=128,
            out_channels=128,
            max_pos=tuple(config[f"{prefix}positional_embedding_max_pos"]),
        )
        for prefix in ("", "audio_")
    )
    return TransformerConfig(
        num_layers=config["num_layers"],
        num_heads=config["num_attention_heads"],
        video=video,
        audio=audio,
        caption_channels=None if later else config["caption_channels"],
        text_modulation=later,
        prompt_embedder=later,
        gated_attention=later,
        keyframe_marker=False,
    )


def _build_vocoder(config: Config) -> nn.Module:
    if "bwe" not in config:
        return Generator(_generator(config, "leaky_relu"))
    return BandwidthExtensionVocoder(
        BandwidthExtensionConfig(
            generator=_generator(config["vocoder"], "snakebeta", rate=config["bwe"]["input_sampling_rate"]),
            bwe_generator=_generator(config["bwe"], "snakebeta", rate=config["bwe"]["output_sampling_rate"]),
            n_fft=config["bwe"]["n_fft"],
            hop_length=config["bwe"]["hop_length"],
        )
    )


def _generator(config: Config, activation: str, rate: int = 24000) -> GeneratorConfig:
    return GeneratorConfig(
        initial_channels=config["upsample_initial_channel"],
        upsample_rates=tuple(config["upsample_rates"]),
        upsample_kernel_sizes=tuple(config["upsample_kernel_sizes"]),
        resblock_kernel_sizes=tuple(config["resblock_kernel_sizes"]),
        resblock_dilation_sizes=tuple(map(tuple, config["resblock_dilation_sizes"])),
        activation="snakebeta" if activation == "snakebeta" else "leaky_relu",
        final_activation="none",  # has no tensors
        final_bias=config.get("use_bias_at_final", True),
        output_sampling_rate=rate,
    )


def _shapes(build: Callable[[], nn.Module]) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in build_on_meta(build).state_dict().items()}


def _half(found: Shapes, part: str) -> Shapes:
    shared = "per_channel_statistics."
    return {name if name.startswith(shared) else part + name: shape for name, shape in found.items()}


def _header_only(case: Case) -> Checkpoint:
    """A checkpoint of the case's configuration and one tensor, which says where a video VAE begins."""
    entry = TensorEntry(dtype="F32", shape=(), start=0, end=0)
    name = f"{PREFIXES[case.component]}decoder.conv_in.conv.bias"
    metadata = {"config": json.dumps({"vae": case.config})}
    return Checkpoint(path=Path(case.name), metadata=metadata, entries={name: entry})
