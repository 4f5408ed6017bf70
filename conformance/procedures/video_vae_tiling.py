"""Golden cases of the area: tile plans, masks and automatic tile sizes of the video VAE; integers, no networks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...model_loaders.video_vae_detection import PUBLISHED_DIFFUSION_DECODER, PUBLISHED_PREDICTION
from ...model_loaders.video_vae_diffusion import diffusion_decoder_config
from ...networks.video_vae.diffusion.tiling import automatic_diffusion_tiling, diffusion_plans
from ...networks.video_vae.tiling import (
    AXES,
    AxisPlan,
    AxisTiling,
    ByCount,
    BySize,
    Tiling,
    automatic_tiling,
    decode_plan,
    ramp_mask,
)
from ..case import Case
from ..registry import procedure


@procedure("video_vae.tiling", "tile_plan")
def tile_plan(case: Case) -> dict[str, Tensor]:
    out = {}
    for index, row in enumerate(case.call["rows"]):
        plan = decode_plan(row["length"], _axis(row), row["factor"], name=row["axis"])
        from_zero = row["axis"] == "frames"
        out[f"{index}_intervals"] = torch.tensor([tile.source for tile in plan])
        out[f"{index}_out_slices"] = _spans([tile.target[:2] for tile in plan])
        out[f"{index}_masks"] = torch.cat([tile.mask for tile in plan])
        out[f"{index}_encode_masks"] = torch.cat([ramp_mask(tile.source, from_zero=from_zero) for tile in plan])
    return out


@procedure("video_vae.tiling", "auto_tiling")
def auto_tiling(case: Case) -> dict[str, Tensor]:
    rows = case.call["rows"]
    return {str(i): _sizes(automatic_tiling(row["height"], row["width"])) for i, row in enumerate(rows)}


@procedure("video_vae.diffusion_decoder", "auto_tiling_diffusion")
def auto_tiling_diffusion(case: Case) -> dict[str, Tensor]:
    config, out = diffusion_decoder_config(PUBLISHED_DIFFUSION_DECODER, PUBLISHED_PREDICTION), {}
    for index, row in enumerate(case.call["rows"]):
        tiling = automatic_diffusion_tiling(
            config,
            (row["num_frames"], row["height"], row["width"]),
            free_bytes=row["free_bytes"],
            weight_bytes=case.call["model_bytes"],
        )
        out[str(index)] = _sizes(tiling)
    return out


@procedure("video_vae.diffusion_decoder", "tile_plan_diffusion")
def tile_plan_diffusion(case: Case) -> dict[str, Tensor]:
    config = diffusion_decoder_config(PUBLISHED_DIFFUSION_DECODER, PUBLISHED_PREDICTION)
    out: dict[str, Tensor] = {}
    for index, row in enumerate(case.call["rows"]):
        frames, height, width = row["latent"]
        cells = config.cells_of(frames), 4 * height, 4 * width
        tiling = Tiling(**{name: BySize(**sizes) for name, sizes in row["tiling"].items()})
        for name, plan in zip(AXES, diffusion_plans(config, cells, tiling), strict=True):
            out |= _diffusion_axis(f"{index}_{name}", plan)
    return out


def _diffusion_axis(name: str, plan: AxisPlan) -> dict[str, Tensor]:
    return {
        f"{name}_in": _spans([tile.source[:2] for tile in plan]),
        f"{name}_out": _spans([tile.target[:2] for tile in plan]),
        f"{name}_masks": torch.cat([tile.mask for tile in plan]),
    }


def _axis(row: dict[str, Any]) -> AxisTiling:
    if row["kind"] == "count":
        return ByCount(num_tiles=row["num_tiles"], overlap=row["overlap"])
    return BySize(tile_size=row["tile"], overlap=row["overlap"])


def _spans(spans: list[tuple[int, ...]]) -> Tensor:
    return torch.tensor(spans)


def _sizes(tiling: Tiling) -> Tensor:
    sizes: list[int] = []
    for axis in tiling.axes:
        assert isinstance(axis, BySize)
        sizes += axis.tile_size, axis.overlap
    return torch.tensor(sizes)
