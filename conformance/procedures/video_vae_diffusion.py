"""Golden cases of the area: operators of the diffusion decoder, its untiled and its tiled decode."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from ...model_loaders.video_vae import load_diffusion_decoder
from ...networks.video_vae.diffusion.neighbourhood import Axis, neighbourhood_attention
from ...networks.video_vae.diffusion.rope import rotate, rotations
from ...networks.video_vae.tiling import AXES, BySize, Tiling
from ..case import Case
from ..registry import procedure

NOISE_PERIOD = 4099


@procedure("video_vae.diffusion_decoder", "rope3d")
def rope3d(case: Case) -> dict[str, Tensor]:
    out = {}
    for index in range(len(case.call["rows"])):
        x = case.inputs[f"{index}_x"].to(case.dtype)
        out[f"{index}_out"] = rotate(x, rotations((0, 0, 0), x.shape[1:4], x.shape[-1], x.device))
    return out


@procedure("video_vae.diffusion_decoder", "na3d")
def na3d(case: Case) -> dict[str, Tensor]:
    out = {}
    for index, row in enumerate(case.call["rows"]):
        q, k, v = (case.inputs[f"{index}_{name}"].to(case.dtype) for name in "qkv")
        axes = [Axis.whole(*sizes) for sizes in zip(q.shape[1:4], row["kernel"], strict=True)]
        out[f"{index}_out"] = neighbourhood_attention(q, k, v, axes)
    return out


@procedure("video_vae.diffusion_decoder", "decode")
def decode(case: Case) -> dict[str, Tensor]:
    return {want: _decoded(case, name) for name, want in case.call["pairs"].items()}


@procedure("video_vae.diffusion_decoder", "tiled_decode")
def tiled_decode(case: Case) -> dict[str, Tensor]:
    return {"video": _decoded(case, "latent")}


def _decoded(case: Case, name: str) -> Tensor:
    decoder = load_diffusion_decoder(case.checkpoint).to(device=case.device, dtype=case.dtype)
    call = case.call.get("tiling", {})
    video = decoder.decode(
        case.inputs[name].to(case.dtype),
        tiling=Tiling(**{axis: BySize(**call[axis]) for axis in AXES if axis in call}),
        noise=_noise(case),
        repeat_columns=case.call.get("w_chunks", 1) > 1,  # slabs along the width are exact but for those copies
    )
    return video[tuple(slice(None, None, step) for step in case.call["out_stride"])]


def _noise(case: Case) -> Tensor:
    """`call.noise_formula`."""
    shape = case.call["noise_shape"]
    j = (torch.arange(prod(shape)) % NOISE_PERIOD).double()
    noise = 2**0.5 * torch.sin(0.017 * j * j + 0.9 * j)
    return noise.float().view(shape).to(case.device)
