"""Video VAE files: names and shapes of the published ones, detection without metadata, loading, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from openltx.model_loaders.assemble import build_on_meta
from openltx.model_loaders.checkpoint import Checkpoint, CheckpointError, TensorEntry, open_checkpoint
from openltx.model_loaders.video_vae import (
    load_video_decoder,
    load_video_encoder,
    load_video_statistics,
    video_vae_config,
)
from openltx.networks.video_vae.decoder import VideoDecoder
from openltx.networks.video_vae.encoder import VideoEncoder

MANIFESTS = Path(__file__).resolve().parents[2] / "shared" / "manifests"
UNUSED_STATISTICS = ("channel", "mean-of-stds", "mean-of-stds_over_std-of-means")
CONVOLUTIONAL = ("video_vae-ltx-2-19b", "video_vae-ltx-2.3-22b", "video_vae-ltx-2.5-22b")
DIFFUSION = "video_vae_diffusion-ltx-2.5-22b"

Shapes = dict[str, tuple[int, ...]]


def manifest(name: str) -> dict[str, Any]:
    path = MANIFESTS / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"NOT TESTED: {path} is absent, names and shapes of {name} stay unchecked")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def header(shapes: Shapes, config: dict[str, Any] | None) -> Checkpoint:
    entries = {key: TensorEntry(dtype="BF16", shape=shape, start=0, end=0) for key, shape in shapes.items()}
    metadata = {} if config is None else {"config": json.dumps(config)}
    return Checkpoint(path=Path("test.safetensors"), metadata=metadata, entries=entries)


def published(name: str, *, conditioned: bool = False, config: bool = True, prefix: str | None = None) -> Checkpoint:
    data = manifest(name)
    tensors = data["tensors"] | (data["optional_tensors"] if conditioned else {})
    bare: Shapes = {key.removeprefix(data["prefix"]): tuple(row[0]) for key, row in tensors.items()}
    prefix = data["prefix"] if prefix is None else prefix
    return header({prefix + key: shape for key, shape in bare.items()}, data["config"] if config else None)


def shapes_of(network: nn.Module, part: str) -> Shapes:
    own = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    return {key if key.startswith("per_channel_statistics.") else part + key: shape for key, shape in own.items()}


@pytest.mark.parametrize(
    ("name", "conditioned"), [*((name, False) for name in CONVOLUTIONAL), (CONVOLUTIONAL[0], True)]
)
def test_names_and_shapes_are_the_published_ones(name: str, conditioned: bool) -> None:
    checkpoint = published(name, conditioned=conditioned)
    config = video_vae_config(checkpoint)
    assert config.decoder is not None
    decoder_fields = config.decoder
    assert decoder_fields.factors == config.encoder.factors == (8, 32, 32)
    encoder = build_on_meta(lambda: VideoEncoder(config.encoder))
    decoder = build_on_meta(lambda: VideoDecoder(decoder_fields))
    found = {key.removeprefix("vae."): shape for key, shape in checkpoint.shapes.items()}
    for extra in UNUSED_STATISTICS:
        found.pop(f"per_channel_statistics.{extra}", None)
    assert shapes_of(encoder, "encoder.") | shapes_of(decoder, "decoder.") == found


def test_diffusion_file_gives_its_encoder() -> None:
    checkpoint = published(DIFFUSION)
    config = video_vae_config(checkpoint)
    assert config.decoder is None
    encoder = build_on_meta(lambda: VideoEncoder(config.encoder))
    want = {key: shape for key, shape in checkpoint.shapes.items() if not key.startswith("decoder.")}
    assert shapes_of(encoder, "encoder.") == want
    with pytest.raises(CheckpointError, match="found a diffusion decoder; use the file"):
        load_video_decoder(checkpoint)


@pytest.mark.parametrize("prefix", ["vae.", ""])
@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_file_without_metadata_is_told_by_its_shapes(name: str, prefix: str) -> None:
    assert video_vae_config(published(name, config=False, prefix=prefix)) == video_vae_config(published(name))


def test_diffusion_file_without_metadata() -> None:
    found, want = video_vae_config(published(DIFFUSION, config=False)), video_vae_config(published(DIFFUSION))
    assert found.decoder is None
    assert found.encoder.blocks == want.encoder.blocks
    assert found.encoder.padding == want.encoder.padding


def test_conditioning_follows_the_keys_and_not_the_configuration() -> None:
    decoder = video_vae_config(published(CONVOLUTIONAL[0], conditioned=True)).decoder
    assert decoder is not None
    assert decoder.timestep_conditioning
    plain = published(CONVOLUTIONAL[0])
    plain.config["vae"]["timestep_conditioning"] = True
    decoder = video_vae_config(plain).decoder
    assert decoder is not None
    assert not decoder.timestep_conditioning


# --- loading ---------------------------------------------------------------------------------------------------------

TINY: dict[str, Any] = {
    "_class_name": "CausalVideoAutoencoder",
    "latent_channels": 4,
    "encoder_blocks": [["res_x", 1], ["compress_all_res", {"multiplier": 2}]],
    "decoder_blocks": [["res_x", {"num_layers": 1}], ["compress_all", {"multiplier": 2}]],
    "decoder_base_channels": 4,
    "patch_size": 2,
    "spatial_padding_mode": "zeros",
}


def tiny_file(path: Path, prefix: str, **changes: Any) -> Checkpoint:
    config = video_vae_config(header({"encoder.x": ()}, {"vae": TINY | changes}))
    assert config.decoder is not None
    encoder = VideoEncoder(config.encoder)
    decoder = VideoDecoder(config.decoder)
    tensors = {f"encoder.{key}": tensor for key, tensor in encoder.state_dict().items()}
    tensors |= {f"decoder.{key}": tensor for key, tensor in decoder.state_dict().items()}
    state = {key: tensor for key, tensor in tensors.items() if "per_channel_statistics" not in key}
    state |= {f"per_channel_statistics.{key}": torch.ones(4) for key in ("mean-of-means", "std-of-means")}
    state |= {f"per_channel_statistics.{key}": torch.ones(4) for key in UNUSED_STATISTICS}
    metadata = {"config": json.dumps({"vae": TINY | changes})}
    save_file({prefix + key: tensor.clone() for key, tensor in state.items()}, str(path), metadata)
    return open_checkpoint(path)


@pytest.mark.parametrize("prefix", ["vae.", ""])
def test_both_prefixes_load(prefix: str, tmp_path: Path) -> None:
    checkpoint = tiny_file(tmp_path / "tiny.safetensors", prefix)
    assert load_video_encoder(checkpoint).encode(torch.randn(1, 3, 3, 8, 8)).shape == (1, 4, 2, 2, 2)
    assert load_video_decoder(checkpoint).decode(torch.randn(1, 4, 2, 2, 2)).shape == (1, 3, 3, 8, 8)
    assert load_video_statistics(checkpoint).normalize(torch.ones(1, 4, 1, 1, 1)).abs().max() == 0


def test_file_without_video_vae() -> None:
    with pytest.raises(CheckpointError, match="expected a video VAE"):
        video_vae_config(header({"audio_vae.encoder.conv_in.conv.weight": (1,)}, {"vae": TINY}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dims": 2}, "dims must be 3, found 2"),
        ({"norm_layer": "group_norm"}, "norm_layer must be 'pixel_norm', found 'group_norm'"),
        ({"_class_name": "Other"}, "_class_name must be 'CausalVideoAutoencoder', found 'Other'"),
        ({"spatial_padding_mode": "mirror"}, "spatial padding must be one of .*'mirror'"),
        ({"latent_log_var": "none"}, "latent_log_var must be one of .*'none'"),
        ({"encoder_blocks": [["res_z", {}]]}, "unknown block 'res_z'"),
        ({"encoder_blocks": [["res_x", {}]]}, "block res_x takes num_layers"),
        ({"decoder_blocks": [["attn", {"heads": 2}]]}, "block attn takes none"),
        ({"decoder_blocks": [["compress_all_res", {}]]}, "video decoder: unknown block 'compress_all_res'"),
    ],
)
def test_unknown_configuration_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        video_vae_config(header({"encoder.x": ()}, {"vae": TINY | changes}))
