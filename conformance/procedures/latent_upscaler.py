"""Golden cases of the area: the latent upscalers and the blur of the rational one."""

from __future__ import annotations

import torch
from torch import Tensor

from ...model_loaders.latent_upscaler import load_latent_upscaler
from ...networks.latent_upscaler.model import upscale_latent
from ...networks.latent_upscaler.resamplers import blur_downsample
from ...networks.video_vae.statistics import MEAN, STD, PerChannelStatistics
from ..case import Case
from ..registry import procedure


@procedure("latent_upscaler", "upsample")
def upsample(case: Case) -> dict[str, Tensor]:
    upscaler = load_latent_upscaler(case.checkpoint).to(device=case.device, dtype=case.dtype)
    statistics = PerChannelStatistics(case.inputs[MEAN].shape[0])
    statistics.load_state_dict({name: case.inputs[name] for name in (MEAN, STD)})
    out: dict[str, Tensor] = {}
    for name, (raw, upsampled) in case.call["pairs"].items():
        latent = case.inputs[name].to(case.dtype)
        out[raw] = upscaler(latent)
        out[upsampled] = upscale_latent(upscaler, statistics, latent)
    return out


@procedure("latent_upscaler", "blur_downsample")
def blur(case: Case) -> dict[str, Tensor]:
    """The kernel is spelled here, as the spec page has it: the case, unlike a file, carries none."""
    row = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0])
    kernel = torch.outer(row, row)[None, None] / 256
    return {"out": blur_downsample(case.inputs["x"].to(case.dtype), kernel, case.call["stride"])}
