"""Audio VAE of a published file: configuration, encoder, decoder (audio.md section 2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..networks.audio_vae.config import FRAMES_PER_LATENT, LEVELS, AudioVAEConfig
from ..networks.audio_vae.decoder import AudioDecoder
from ..networks.audio_vae.encoder import AudioEncoder
from ..networks.operations import Operations, torch_operations
from .assemble import assemble, strip_prefix
from .checkpoint import Checkpoint, CheckpointError

PREFIX = "audio_vae."
STATISTICS = "per_channel_statistics."  # stored once, part of the encoder and of the decoder
SUPPORTED = {
    "norm_type": ("pixel",),
    "causality_axis": ("height",),
    "double_z": (True,),
    "in_channels": (2,),
    "out_ch": (2,),
}
Section = Mapping[str, Any]
Shapes = Mapping[str, tuple[int, ...]]


def has_audio_vae(checkpoint: Checkpoint) -> bool:
    """Whether a file holds an audio encoder or decoder."""
    return any(checkpoint.names(f"{PREFIX}{half}.") for half in ("encoder", "decoder"))


def audio_vae_config(checkpoint: Checkpoint) -> AudioVAEConfig:
    """From the metadata; what they leave out from shapes, and what shapes do not tell from the published values.

    Attention is always decided by the presence of its tensors. Raises CheckpointError for a file that holds neither
    metadata nor tensors of an audio VAE, and for values that are not supported.
    """
    section = checkpoint.config.get("audio_vae")
    if section is None and not has_audio_vae(checkpoint):
        raise CheckpointError(
            f"{checkpoint.path}: expected an audio VAE (tensors {PREFIX}encoder.… or {PREFIX}decoder.…), found none; "
            "use a single-file checkpoint or the audio VAE file"
        )
    try:
        return AudioVAEConfig(**_from_shapes(checkpoint.shapes) | _from_metadata(section or {}))
    except ValueError as error:
        raise CheckpointError(f"{checkpoint.path}: {error}") from error


def load_audio_encoder(checkpoint: Checkpoint, *, operations: Operations = torch_operations) -> AudioEncoder:
    """The encoder in float32 on the CPU. Raises CheckpointError where the file does not hold it."""
    config = audio_vae_config(checkpoint)
    tensors = _half(checkpoint, "encoder")
    return assemble(
        lambda: AudioEncoder(config, operations=operations), checkpoint, tensors, what="audio encoder"
    ).float()


def load_audio_decoder(checkpoint: Checkpoint, *, operations: Operations = torch_operations) -> AudioDecoder:
    """The decoder in float32 on the CPU. Raises CheckpointError where the file does not hold it."""
    config = audio_vae_config(checkpoint)
    tensors = _half(checkpoint, "decoder")
    return assemble(
        lambda: AudioDecoder(config, operations=operations), checkpoint, tensors, what="audio decoder"
    ).float()


def _half(checkpoint: Checkpoint, half: str) -> dict[str, str]:
    own = strip_prefix(checkpoint.names(), f"{PREFIX}{half}.")
    if not own:
        raise CheckpointError(
            f"{checkpoint.path}: expected an audio {half} (tensors {PREFIX}{half}.…), found none; "
            "use a single-file checkpoint or the audio VAE file"
        )
    statistics = strip_prefix(checkpoint.names(PREFIX + STATISTICS), PREFIX)
    return own | statistics


def _from_metadata(section: Section) -> dict[str, Any]:
    """Constructor arguments that the metadata state."""
    params = section.get("model", {}).get("params", {})
    ddconfig = params.get("ddconfig", {})
    for name, supported in SUPPORTED.items():
        if name in ddconfig and ddconfig[name] not in supported:
            raise ValueError(
                f"audio VAE: expected {name} {supported[0]!r}, found {ddconfig[name]!r}; this variant is not supported"
            )
    preprocessing = section.get("preprocessing", {})
    stft = preprocessing.get("stft", {})
    mel_bins = (
        ddconfig.get("mel_bins")
        or preprocessing.get("mel", {}).get("n_mel_channels")
        or section.get("variables", {}).get("mel_bins")
    )
    multipliers = ddconfig.get("ch_mult")
    values = {
        "channels": ddconfig.get("ch"),
        "channel_multipliers": tuple(multipliers) if multipliers else None,
        "num_res_blocks": ddconfig.get("num_res_blocks"),
        "latent_channels": ddconfig.get("z_channels"),
        "mel_bins": mel_bins,
        "sampling_rate": params.get("sampling_rate"),
        "hop_length": stft.get("hop_length"),
        "n_fft": stft.get("filter_length"),
        "causal_positions": stft.get("causal"),
    }
    return {name: value for name, value in values.items() if value is not None}


def _from_shapes(shapes: Shapes) -> dict[str, Any]:
    """Constructor arguments that names and shapes tell, from whichever half the file holds."""
    halves = [f"{PREFIX}{half}." for half in ("encoder", "decoder")]
    levels = (re.match(rf"{re.escape(PREFIX)}\w+\.(?:down|up)\.(\d+)\.attn\.0\.q\.weight$", name) for name in shapes)
    values: dict[str, Any] = {
        "mid_attention": any(f"{half}mid.attn_1.q.weight" in shapes for half in halves),
        "attention_levels": frozenset(int(found[1]) for found in levels if found),
    }
    for stack, extra in ((f"{halves[0]}down.", 0), (f"{halves[1]}up.", 1)):  # the decoder has one block more a level
        widths = [shapes.get(f"{stack}{i}.block.0.conv1.conv.bias", (0,))[0] for i in range(LEVELS)]
        if all(widths):
            channels = shapes.get(f"{halves[0]}conv_in.conv.bias", (widths[0],))[0]
            blocks = {name.split(".")[5] for name in shapes if name.startswith(f"{stack}0.block.")}
            values |= {
                "channels": channels,
                "channel_multipliers": tuple(width // channels for width in widths),
                "num_res_blocks": len(blocks) - extra,
            }
    return values | _latent_from_shapes(shapes)


def _latent_from_shapes(shapes: Shapes) -> dict[str, Any]:
    moments = shapes.get(f"{PREFIX}encoder.conv_out.conv.bias")
    inputs = shapes.get(f"{PREFIX}decoder.conv_in.conv.weight")
    statistics = shapes.get(f"{PREFIX}{STATISTICS}mean-of-means")
    channels = inputs[1] if inputs else moments[0] // 2 if moments else None
    if channels is None:
        return {}
    values = {"latent_channels": channels}
    return values | ({"mel_bins": FRAMES_PER_LATENT * statistics[0] // channels} if statistics else {})
