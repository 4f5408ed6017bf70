"""Golden cases of the area `media`: code values, HDR curves and spaces, EXR files."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor

from ...media.colour import BT709, BT2020, rgb_to_10bit, rgb_to_i420, rgb_to_rgb24, yuv_levels
from ...media.curves import ACEScct, LogC3, srgb_codes, srgb_encode, tonemapped
from ...media.exr import prepare_exr_clip, prepare_exr_reference, read_exr, write_exr
from ...media.hdr import (
    SOURCE_SPACES,
    WORKING_SPACES,
    adapter_linear,
    from_unit_range,
    source_space,
    to_unit_range,
)
from ...media.hlg import hlg_planes, hlg_signal
from ...media.primaries import Primaries, rotate
from ..case import Case
from ..registry import procedure

SOURCES: tuple[Primaries, ...] = ("rec709", "acescg")


@procedure("hdr.transfer", "hdr_curves")
def hdr_curves(case: Case) -> dict[str, Tensor]:
    i = case.inputs
    return {
        "logc3_compress": LogC3.encode(i["linear"]),
        "logc3_decompress": LogC3.decode(i["code"]),
        "acescct_compress": ACEScct.encode(i["linear"]),
        "acescct_decompress": ACEScct.decode(i["code"]),
        "compress_ldr": i["code"].clamp(0, 1),
        "to_vae_range": from_unit_range(i["unit"]),
        "from_vae_range": to_unit_range(i["vae"]),
    }


@procedure("hdr.working_space", "hdr_working_space")
def hdr_working_space(case: Case) -> dict[str, Tensor]:
    linear, working, still = (_last(case.inputs[name]) for name in ("linear", "working", "linear_4d"))
    outputs = {
        "acescg_to_rec2020": rotate(still, "acescg", "rec2020"),
        "rec709_to_rec2020": rotate(linear, "rec709", "rec2020"),
    }
    for name, space in WORKING_SPACES.items():
        for primaries in SOURCES:
            outputs[f"{name}_from_{primaries}"] = space.encode(linear, primaries)
            outputs[f"{name}_to_{primaries}"] = space.decode(working, primaries)
    return {name: _second(tensor) for name, tensor in outputs.items()}


@procedure("media.hdr_decode", "hdr_decode")
def hdr_decode(case: Case) -> dict[str, Tensor]:
    return {
        f"{name}_{primaries}": space.decode(case.inputs["decoded"], primaries)
        for name, space in WORKING_SPACES.items()
        for primaries in SOURCES
    }


@procedure("media.tonemap", "tonemap_preview")
def tonemap_preview(case: Case) -> dict[str, Tensor]:
    linear, proxied = adapter_linear(case.inputs["image"]), case.inputs["linear"]
    outputs = {
        name: tonemapped(linear, float(name.removeprefix("tonemapped_ev")))
        for name in case.output_names
        if name.startswith("tonemapped_ev")
    }
    return outputs | {"hdr_linear": linear, "srgb": srgb_encode(proxied), "srgb8": srgb_codes(proxied).int()}


@procedure("color.hlg", "hlg_signal")
def hlg_signals(case: Case) -> dict[str, Tensor]:
    linear = case.inputs["scene_linear"]
    signals = {f"{source}_signal": hlg_signal(linear, source) for source in SOURCES}
    signals["rec709_signal_rolloff2"] = hlg_signal(linear, rolloff=case.call["rolloff_k_of_rolloff2"])
    return {name: rearrange(signal, "f h w c -> f c h w") for name, signal in signals.items()}


@procedure("color.hlg", "hlg_planes")
def hlg_codes(case: Case) -> dict[str, Tensor]:
    outputs = {}
    for source in SOURCES:
        planes = hlg_planes(case.inputs["scene_linear"], source)
        for letter, codes in zip("yuv", (planes.luma, planes.chroma[:, 0], planes.chroma[:, 1]), strict=True):
            outputs[f"{source}_{letter}"] = codes.int()
    return outputs


@procedure("color.yuv", "sdr_yuv420")
def sdr_yuv420(case: Case) -> dict[str, Tensor]:
    rgb, over = (rearrange(case.inputs[name], "f c h w -> f h w c") for name in ("rgb", "rgb_over"))
    limited, full = yuv_levels(rgb, BT709), yuv_levels(rgb, BT709, full=True)
    ten = rgb_to_10bit(rgb, BT2020)
    return {
        "i420": torch.from_numpy(rgb_to_i420(rgb)).int(),
        "rgb24": torch.from_numpy(rgb_to_rgb24(over)).int(),
        "p10_y": ten.luma.int(),
        "p10_u": ten.chroma[:, 0].int(),
        "p10_v": ten.chroma[:, 1].int(),
        "y_levels": limited.luma[:, None],
        "uv_levels": limited.chroma,
        "y_levels_full": full.luma[:, None],
        "uv_levels_full": full.chroma,
    }


@procedure("media.exr", "exr_read")
def exr_read(case: Case) -> dict[str, Tensor]:
    return {name.removeprefix("exr_"): read_exr(_bytes(data)) for name, data in case.inputs.items()}


@procedure("media.exr", "exr_write")
def exr_write(case: Case) -> dict[str, Tensor]:
    with tempfile.TemporaryDirectory() as folder:
        read_back = []
        for name in SOURCE_SPACES:
            path = Path(folder) / f"{name}.exr"
            write_exr(path, case.inputs["pixels"], source_space(name))
            read_back.append(read_exr(path))
    if not all(torch.equal(read_back[0], other) for other in read_back[1:]):
        raise ValueError("EXR: expected the same pixels under every colour space's tags, found different ones")
    return {"pixels_read_back": read_back[0]}


@procedure("media.exr_conditioning", "exr_conditioning")
def exr_conditioning(case: Case) -> dict[str, Tensor]:
    call = case.call
    size = call["height"], call["width"]
    frames = torch.stack([read_exr(_bytes(case.inputs[name])) for name in sorted(case.inputs)])
    first, index = call["frame_start"], call["still_index"]
    outputs = {}
    for name, space in SOURCE_SPACES.items():
        reference = frames[first : first + call["frame_cap"]]
        outputs[f"pad_{name.lower()}"] = prepare_exr_reference(reference, space, *size)
        outputs[f"still_{name.lower()}"] = prepare_exr_clip(frames[index : index + 1], space, *size)
    return outputs


def _last(tensor: Tensor) -> Tensor:
    return rearrange(tensor, "b c ... -> b ... c")


def _second(tensor: Tensor) -> Tensor:
    return rearrange(tensor, "b ... c -> b c ...")


def _bytes(data: Tensor) -> bytes:
    return data.cpu().numpy().tobytes()
