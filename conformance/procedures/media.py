"""Golden cases of the area `media`: still images and resizing."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...media.images import prepare_clip, prepare_image, read_image, recompress
from ...media.resize import (
    aligned_down,
    aligned_up,
    fill_and_crop,
    fit_and_pad,
    frames_first,
    to_long_side,
)
from ..case import Case
from ..registry import procedure


@procedure("media.image", "image_decode")
def image_decode(case: Case) -> dict[str, Tensor]:
    return {name.removeprefix("png_"): _tensor(read_image(_bytes(data))) for name, data in case.inputs.items()}


@procedure("media.image_conditioning", "image_conditioning_crf0")
def image_conditioning(case: Case) -> dict[str, Tensor]:
    call = case.call
    pixels = read_image(_bytes(case.inputs["png"]))
    return {"crf0": prepare_image(pixels, call["height"], call["width"], crf=call["crf"])}


@procedure("media.recompress", "image_recompress")
def image_recompress(case: Case) -> dict[str, Tensor]:
    pixels = case.inputs["image"].cpu().numpy()
    return {f"crf{crf}": _tensor(recompress(pixels, crf)) for crf in case.call["crf"]}


@procedure("media.resize", "resize_crop")
def resize_crop(case: Case) -> dict[str, Tensor]:
    call, i, outputs = case.call, case.inputs, {}
    for index, (height, width) in enumerate(call["targets_hw"]):
        frames = i[f"frames_{index}"]
        outputs[f"crop_{index}"] = frames_first(fill_and_crop(frames, height, width))
        outputs[f"pad_{index}"] = frames_first(fit_and_pad(frames, height, width))
        outputs[f"preprocessed_{index}"] = prepare_clip(frames, height, width)
        outputs[f"still_crop_{index}"] = frames_first(fill_and_crop(frames[:1], height, width))
    sizes, divisor = call["align_inputs_wh"], call["align_divisor"]
    return outputs | {
        f"long_side_{call['long_side']}": to_long_side(i["frames_0"], call["long_side"]),
        "align_pad": torch.tensor([[*aligned_up(w, h, divisor), w, h] for w, h in sizes]),
        "align_crop": torch.tensor([[*aligned_down(w, h, divisor), w, h] for w, h in sizes]),
    }


def _bytes(data: Tensor) -> bytes:
    return data.cpu().numpy().tobytes()


def _tensor(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Tensor:
    return torch.from_numpy(np.array(pixels))
