"""Golden cases of the area: encoder, decoder and statistics of the video VAE, tiled and untiled.

Registers the rest of the area too: tile plans, diffusion decoder.
"""

from __future__ import annotations

from typing import Any, TypeVar

from torch import Tensor, nn

from ...model_loaders.video_vae import load_video_decoder, load_video_encoder, load_video_statistics
from ...networks.video_vae.decoder import DecoderNoise, VideoDecoder
from ...networks.video_vae.pixels import to_images
from ...networks.video_vae.streaming import Draw
from ...networks.video_vae.tiled import decode_tiled, encode_tiled
from ...networks.video_vae.tiling import AXES, ByCount, BySize, Tiling
from ..case import Case
from ..registry import procedure
from . import video_vae_diffusion, video_vae_tiling  # noqa: F401

Network = TypeVar("Network", bound=nn.Module)


@procedure("video_vae.decoder", "decode")
def decode(case: Case) -> dict[str, Tensor]:
    decoder = _on_device(load_video_decoder(case.checkpoint), case)
    latents = {name: tensor.to(case.dtype) for name, tensor in case.inputs.items() if not name.startswith("noise")}
    if "outputs" in case.call:  # one latent under several noise settings
        (latent,) = latents.values()
        return {
            name: decoder.decode(latent, noise=_noise(case, **arguments))
            for name, arguments in case.call["outputs"].items()
        }
    out = {want: decoder.decode(latents[name], noise=_noise(case)) for name, want in case.call["pairs"].items()}
    if "rgb_of" in case.call:
        out["rgb"] = to_images(out[case.call["pairs"][case.call["rgb_of"]]])[0]
    return out


@procedure("video_vae.encoder", "encode")
def encode(case: Case) -> dict[str, Tensor]:
    encoder = _on_device(load_video_encoder(case.checkpoint), case)
    return {want: encoder.encode(case.inputs[name].to(case.dtype)) for name, want in case.call["pairs"].items()}


@procedure("video_vae", "encode+decode")
def encode_and_decode(case: Case) -> dict[str, Tensor]:
    encoder = _on_device(load_video_encoder(case.checkpoint), case)
    decoder: VideoDecoder = _on_device(load_video_decoder(case.checkpoint), case)
    pairs, inputs = case.call["pairs"], {name: tensor.to(case.dtype) for name, tensor in case.inputs.items()}
    return {pairs["video"]: encoder.encode(inputs["video"]), pairs["latent"]: decoder.decode(inputs["latent"])}


@procedure("video_vae.decoder", "tiled_decode")
def tiled_decode(case: Case) -> dict[str, Tensor]:
    decoder = _on_device(load_video_decoder(case.checkpoint), case)
    return {"video": decode_tiled(decoder, case.inputs["latent"].to(case.dtype), _tiling(case.call["tiling"]))}


@procedure("video_vae.encoder", "tiled_encode")
def tiled_encode(case: Case) -> dict[str, Tensor]:
    encoder = _on_device(load_video_encoder(case.checkpoint), case)
    return {"latent": encode_tiled(encoder, case.inputs["video"].to(case.dtype), _tiling(case.call["tiling"]))}


@procedure("video_vae.statistics", "normalize/un_normalize")
def statistics(case: Case) -> dict[str, Tensor]:
    network = _on_device(load_video_statistics(case.checkpoint), case)
    x = case.inputs["x"].to(case.dtype)
    return {"normalized": network.normalize(x), "un_normalized": network.un_normalize(x)}


def _tiling(call: dict[str, Any]) -> Tiling:
    """`call.tiling` of a case: kind "size" or "count", and arguments for the axes that are tiled."""
    kind = ByCount if call["kind"] == "count" else BySize
    return Tiling(**{name: kind(**call[name]) for name in AXES if name in call})


def _on_device(network: Network, case: Case) -> Network:
    return network.to(device=case.device, dtype=case.dtype)


def _noise(case: Case, timestep: float = DecoderNoise.timestep) -> DecoderNoise:
    scale = case.call.get("decode_noise_scale", DecoderNoise.scale)
    return DecoderNoise(timestep=timestep, scale=scale, draw=_given_noise(case))


def _given_noise(case: Case) -> Draw:
    """Hands out the case's noise tensors in the order of their names: `noise`, or `noise_0`, `noise_1`, …"""
    names = sorted((name for name in case.inputs if name.startswith("noise")), key=lambda name: (len(name), name))
    tensors = iter([case.inputs[name] for name in names])
    return lambda shape: next(tensors)
