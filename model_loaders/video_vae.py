"""Published video VAE files → encoder, decoder, statistics (spec page video_vae, sections 1 to 3).

The only place that knows their prefixes: `vae.` in the single files of 2 and 2.3, none in the split files of 2.5; both
are accepted for every generation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..networks.operations import Operations, torch_operations
from ..networks.video_vae.config import PADDING_MODES, BlockConfig, PaddingMode, VideoDecoderConfig, VideoEncoderConfig
from ..networks.video_vae.decoder import VideoDecoder
from ..networks.video_vae.diffusion.config import DiffusionDecoderConfig
from ..networks.video_vae.diffusion.decoder import DiffusionDecoder
from ..networks.video_vae.encoder import VideoEncoder
from ..networks.video_vae.statistics import MEAN, STD, PerChannelStatistics
from ..networks.video_vae.tiled import AnyVideoDecoder
from .assemble import assemble, assign, build_on_meta, refuse_mismatch, strip_prefix
from .checkpoint import Checkpoint, CheckpointError
from .video_vae_detection import (
    PUBLISHED_DIFFUSION_DECODER,
    PUBLISHED_PREDICTION,
    Shapes,
    detect_video_vae,
    is_diffusion_decoder,
)
from .video_vae_diffusion import diffusion_decoder_config, fold_gates, used_tensors, without_gates

CONVOLUTIONAL, DIFFUSION = "CausalVideoAutoencoder", "CausalDiffusionVAE"
STATISTICS = "per_channel_statistics."
CONDITIONED_KEY = "decoder.last_scale_shift_table"
LATENT_CHANNELS, BASE_CHANNELS, PATCH_SIZE = 128, 128, 4  # where the configuration is silent
BLOCK_DEFAULTS: dict[str, dict[str, Any]] = {
    "res_x": {"num_layers": None, "inject_noise": False},
    "res_x_y": {"multiplier": 2, "inject_noise": False},
    "attn": {},
    "compress_time": {"multiplier": 1},
    "compress_space": {"multiplier": 1},
    "compress_all": {"multiplier": 1, "residual": False},
    "compress_time_res": {"multiplier": 2},
    "compress_space_res": {"multiplier": 2},
    "compress_all_res": {"multiplier": 2},
    "compress_all_x_y": {"multiplier": 2},
}


@dataclass(frozen=True, kw_only=True)
class VideoVAEConfig:
    """Both halves of one file: `decoder` is the convolutional one, `diffusion` the other kind; a file has one of them.

    Both are None for a file with the encoder of a diffusion VAE alone.
    """

    encoder: VideoEncoderConfig
    decoder: VideoDecoderConfig | None = None
    diffusion: DiffusionDecoderConfig | None = None


def video_vae_config(checkpoint: Checkpoint) -> VideoVAEConfig:
    """The configuration from the metadata, or from names and shapes where the metadata has none (section 2.5).

    Raises CheckpointError for a file without a video VAE, and ValueError for a value that is unknown or not supported.
    """
    shapes = {name.removeprefix(vae_prefix(checkpoint)): shape for name, shape in checkpoint.shapes.items()}
    fields = checkpoint.config.get("vae") or detect_video_vae(shapes)
    if "encoder" in fields or fields.get("_class_name", CONVOLUTIONAL) == DIFFUSION:
        return VideoVAEConfig(encoder=_nested_encoder(fields), diffusion=_diffusion(fields, shapes))
    _refuse(fields, "_class_name", (CONVOLUTIONAL,), default=CONVOLUTIONAL)
    encoder = _flat_encoder(fields)
    if is_diffusion_decoder(shapes):
        if "vae" in checkpoint.config:
            raise ValueError(
                f"{checkpoint.path}: expected _class_name {DIFFUSION} for a diffusion decoder, found {CONVOLUTIONAL}"
            )
        published = diffusion_decoder_config(PUBLISHED_DIFFUSION_DECODER, PUBLISHED_PREDICTION)
        return VideoVAEConfig(encoder=encoder, diffusion=published)
    return VideoVAEConfig(encoder=encoder, decoder=_decoder(fields, CONDITIONED_KEY in shapes))


def load_video_encoder(checkpoint: Checkpoint, *, operations: Operations = torch_operations) -> VideoEncoder:
    """The encoder of any video VAE file, in the dtype of the file.

    Raises CheckpointError or ValueError: see `video_vae_config` and `assemble`.
    """
    config = video_vae_config(checkpoint).encoder
    build = partial(VideoEncoder, config, operations=operations)
    return assemble(build, checkpoint, _tensors(checkpoint, "encoder."), what="video encoder")


def load_video_decoder(checkpoint: Checkpoint, *, operations: Operations = torch_operations) -> VideoDecoder:
    """The convolutional decoder of a video VAE file, in the dtype of the file.

    Raises CheckpointError for a file with a diffusion decoder; otherwise as `load_video_encoder`.
    """
    found = video_vae_config(checkpoint)
    config = found.decoder
    if config is None:
        kind = "no decoder" if found.diffusion is None else "a diffusion decoder"
        raise CheckpointError(
            f"{checkpoint.path}: expected a convolutional video decoder, found {kind}; "
            "use the file ltx-2.5-video-vae-conv-bf16.safetensors, which decodes the same latents"
        )
    build = partial(VideoDecoder, config, operations=operations)
    return assemble(build, checkpoint, _tensors(checkpoint, "decoder."), what="video decoder")


def load_diffusion_decoder(checkpoint: Checkpoint, *, operations: Operations = torch_operations) -> DiffusionDecoder:
    """The diffusion decoder of a video VAE file, in the dtype of the file, gates folded into the layers they scale.

    Raises CheckpointError for a file without one; otherwise as `load_video_encoder`.
    """
    config = video_vae_config(checkpoint).diffusion
    if config is None:
        raise CheckpointError(
            f"{checkpoint.path}: expected a diffusion video decoder, found none; "
            "use the file ltx-2.5-video-vae-bf16.safetensors"
        )
    what = "diffusion video decoder"
    names = used_tensors(_tensors(checkpoint, "decoder."))
    checkpoint.read_ahead(names.values())
    network = build_on_meta(partial(DiffusionDecoder, config, operations=operations))
    shapes = {name: checkpoint.entries[key].shape for name, key in names.items()}
    refuse_mismatch(network, without_gates(shapes), checkpoint, what)
    loaded = checkpoint.load(list(names.values()))
    return assign(network, fold_gates({name: loaded[key] for name, key in names.items()}))


def load_any_video_decoder(checkpoint: Checkpoint, *, operations: Operations = torch_operations) -> AnyVideoDecoder:
    """Whichever decoder the file holds; both have `config`, `decode` and `decode_stream`."""
    if video_vae_config(checkpoint).diffusion is not None:
        return load_diffusion_decoder(checkpoint, operations=operations)
    return load_video_decoder(checkpoint, operations=operations)


def load_video_statistics(checkpoint: Checkpoint) -> PerChannelStatistics:
    """Only the two statistics vectors: all that a latent upscaler needs of a video VAE file."""
    tensors = _statistics(checkpoint, "")
    if MEAN not in tensors:
        raise CheckpointError(f"{checkpoint.path}: expected {STATISTICS}{MEAN}, found none; use a video VAE file")
    channels = checkpoint.shapes[tensors[MEAN]][0]
    return assemble(partial(PerChannelStatistics, channels), checkpoint, tensors, what="video latent statistics")


def vae_prefix(checkpoint: Checkpoint) -> str:
    """`vae.` or nothing. Raises CheckpointError for a file without a video VAE."""
    for prefix in ("vae.", ""):
        if any(checkpoint.names(prefix + part) for part in ("encoder.", "decoder.", STATISTICS)):
            return prefix
    raise CheckpointError(
        f"{checkpoint.path}: expected a video VAE (tensors vae.encoder.…, vae.decoder.… or the same without 'vae.'), "
        "found none; choose another file"
    )


def _tensors(checkpoint: Checkpoint, part: str) -> dict[str, str]:
    """{parameter name: name in the file} of one half; both halves own the statistics."""
    return strip_prefix(checkpoint.names(), vae_prefix(checkpoint) + part) | _statistics(checkpoint, STATISTICS)


def _statistics(checkpoint: Checkpoint, target: str) -> dict[str, str]:
    """The two vectors in use; files of 2 may hold three more that nothing reads."""
    found = strip_prefix(checkpoint.names(), vae_prefix(checkpoint) + STATISTICS)
    return {target + name: found[name] for name in (MEAN, STD) if name in found}


def _flat_encoder(fields: Mapping[str, Any]) -> VideoEncoderConfig:
    padding = fields.get("spatial_padding_mode") or fields.get("encoder_spatial_padding_mode") or "zeros"
    _refuse_common(fields)
    return VideoEncoderConfig(
        in_channels=fields.get("in_channels", 3),
        latent_channels=fields.get("latent_channels", LATENT_CHANNELS),
        patch_size=fields.get("patch_size", PATCH_SIZE),
        blocks=_blocks(fields, "encoder_blocks"),
        padding=_padding(padding),
        log_variance=fields.get("latent_log_var", "uniform"),
    )


def _nested_encoder(fields: Mapping[str, Any]) -> VideoEncoderConfig:
    encoder = fields.get("encoder")
    if not isinstance(encoder, dict):
        raise ValueError("video VAE configuration: expected an object 'encoder', found none; the file is damaged")
    _refuse_common(encoder)
    return VideoEncoderConfig(
        in_channels=encoder.get("in_channels", 3),
        latent_channels=encoder.get("out_channels", LATENT_CHANNELS),
        patch_size=encoder.get("patch_size", PATCH_SIZE),
        blocks=_blocks(encoder, "blocks"),
        padding=_padding(encoder.get("spatial_padding_mode", "zeros")),
        log_variance=encoder.get("latent_log_var", "uniform"),
    )


def _diffusion(fields: Mapping[str, Any], shapes: Shapes) -> DiffusionDecoderConfig | None:
    """None for a file that holds the encoder only."""
    if not is_diffusion_decoder(shapes):
        return None
    decoder = fields.get("decoder")
    if not isinstance(decoder, dict):
        raise ValueError("video VAE configuration: expected an object 'decoder', found none; the file is damaged")
    return diffusion_decoder_config(decoder, fields.get("model_output_type", "v"))


def _decoder(fields: Mapping[str, Any], conditioned: bool) -> VideoDecoderConfig:
    """`timestep_conditioning` of the file is not read: published values contradict each other, the keys do not."""
    return VideoDecoderConfig(
        out_channels=fields.get("out_channels", 3),
        latent_channels=fields.get("latent_channels", LATENT_CHANNELS),
        base_channels=fields.get("decoder_base_channels", BASE_CHANNELS),
        patch_size=fields.get("patch_size", PATCH_SIZE),
        blocks=_blocks(fields, "decoder_blocks")[::-1],  # listed from the pixels to the latent
        padding=_padding(fields.get("spatial_padding_mode") or "reflect"),
        causal=fields.get("causal_decoder", False),
        timestep_conditioning=conditioned,
    )


def _blocks(fields: Mapping[str, Any], name: str) -> tuple[BlockConfig, ...]:
    if name not in fields:
        raise ValueError(f"video VAE configuration: expected the list {name!r}, found none; the file is damaged")
    return tuple(_block(kind, params) for kind, params in fields[name])


def _block(kind: str, params: Mapping[str, Any] | int) -> BlockConfig:
    if kind not in BLOCK_DEFAULTS:
        raise ValueError(f"video VAE configuration: unknown block {kind!r}; known are {', '.join(BLOCK_DEFAULTS)}")
    values = BLOCK_DEFAULTS[kind] | ({"num_layers": params} if isinstance(params, int) else dict(params))
    unknown = values.keys() - BLOCK_DEFAULTS[kind].keys()
    if unknown or None in values.values():
        known = ", ".join(BLOCK_DEFAULTS[kind]) or "none"
        raise ValueError(f"video VAE configuration: block {kind} takes {known}, found {json.dumps(params)}")
    return BlockConfig(kind=kind, **values)


def _refuse_common(fields: Mapping[str, Any]) -> None:
    _refuse(fields, "dims", (3,), default=3)
    _refuse(fields, "norm_layer", ("pixel_norm",), default="pixel_norm")


def _refuse(fields: Mapping[str, Any], name: str, supported: tuple[object, ...], *, default: object) -> None:
    value = fields.get(name, default)
    if value not in supported:
        known = ", ".join(map(repr, supported))
        raise ValueError(f"video VAE configuration: {name} must be {known}, found {value!r}")


def _padding(value: str) -> PaddingMode:
    for mode in PADDING_MODES:
        if value == mode:
            return mode
    raise ValueError(
        f"video VAE configuration: spatial padding must be one of {', '.join(PADDING_MODES)}, found {value!r}"
    )
