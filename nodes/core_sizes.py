"""Standalone copies of core nodes that change the size of pictures; see nodes/core.py."""

# b pictures, h w rows, columns, c colours
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from PIL import Image
from torch import Tensor

from .host.api import io

METHODS = ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]
CROPS = ["disabled", "center"]


def scaled(images: Tensor, width: int, height: int, method: str, crop: str = "disabled") -> Tensor:
    """Pictures (b, h, w, c) in 0 … 1 at a size; crop "center": cut to its ratio first."""
    if crop == "center":
        images = _cut_to_ratio(images, width / height)
    if method == "lanczos":
        return torch.stack([_lanczos(picture, width, height) for picture in images])
    planes = rearrange(images, "b h w c -> b c h w")
    return rearrange(F.interpolate(planes, size=(height, width), mode=method), "b c h w -> b h w c")


def _cut_to_ratio(images: Tensor, ratio: float) -> Tensor:
    height, width = images.shape[1:3]
    x = round((width - width * (ratio / (width / height))) / 2) if width / height > ratio else 0
    y = round((height - height * (width / height / ratio)) / 2) if width / height < ratio else 0
    return images[:, y : height - y, x : width - x]


def _lanczos(picture: Tensor, width: int, height: int) -> Tensor:
    codes = (picture.cpu().float().clamp(0, 1) * 255).to(torch.uint8).numpy()
    image = Image.fromarray(codes.squeeze(-1) if codes.shape[-1] == 1 else codes)
    found = torch.from_numpy(np.array(image.resize((width, height), Image.Resampling.LANCZOS))).float() / 255
    return found.to(picture.device).reshape(height, width, -1)


def _method(default: str = "area", name: str = "upscale_method") -> io.BaseInput:
    return io.Combo.Input(name, options=METHODS, default=default)


class ImageScale(io.ComfyNode):
    """Pictures at a size; a side of 0 follows the other one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ImageScale",
            display_name="Upscale Image",
            category="image/upscaling",
            inputs=[
                io.Image.Input("image"),
                _method("nearest-exact"),
                io.Int.Input("width", default=512, min=0, max=16384),
                io.Int.Input("height", default=512, min=0, max=16384),
                io.Combo.Input("crop", options=CROPS),
            ],
            outputs=[io.Image.Output("IMAGE")],
        )

    @classmethod
    def execute(cls, image: Tensor, upscale_method: str, width: int, height: int, crop: str) -> io.NodeOutput:
        if not width and not height:
            return io.NodeOutput(image)
        found_height, found_width = image.shape[1:3]
        width = width or max(1, round(found_width * height / found_height))
        height = height or max(1, round(found_height * width / found_width))
        return io.NodeOutput(scaled(image, width, height, upscale_method, crop))


class ImageScaleBy(io.ComfyNode):
    """Pictures so many times as large."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ImageScaleBy",
            display_name="Upscale Image By",
            category="image/upscaling",
            inputs=[
                io.Image.Input("image"),
                _method("nearest-exact"),
                io.Float.Input("scale_by", default=1.0, min=0.01, max=8.0, step=0.01),
            ],
            outputs=[io.Image.Output("IMAGE")],
        )

    @classmethod
    def execute(cls, image: Tensor, upscale_method: str, scale_by: float) -> io.NodeOutput:
        height, width = (round(side * scale_by) for side in image.shape[1:3])
        return io.NodeOutput(scaled(image, width, height, upscale_method))


class ImageScaleToMaxDimension(io.ComfyNode):
    """Pictures whose longer side is as given."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ImageScaleToMaxDimension",
            display_name="Scale Image to Max Dimension",
            category="image/upscaling",
            inputs=[
                io.Image.Input("image"),
                _method(),
                io.Int.Input("largest_size", default=512, min=0, max=16384),
            ],
            outputs=[io.Image.Output("IMAGE")],
        )

    @classmethod
    def execute(cls, image: Tensor, upscale_method: str, largest_size: int) -> io.NodeOutput:
        return io.NodeOutput(_to_sides(image, upscale_method, longer=largest_size))


class ImageScaleToTotalPixels(io.ComfyNode):
    """Pictures of so many megapixels (of 1024 x 1024), sides in multiples of the steps."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ImageScaleToTotalPixels",
            display_name="Scale Image to Total Pixels",
            category="image/upscaling",
            inputs=[
                io.Image.Input("image"),
                _method("nearest-exact"),
                io.Float.Input("megapixels", default=1.0, min=0.01, max=16.0, step=0.01),
                io.Int.Input("resolution_steps", default=1, min=1, max=256, optional=True),
            ],
            outputs=[io.Image.Output("IMAGE")],
        )

    @classmethod
    def execute(cls, image: Tensor, upscale_method: str, megapixels: float, resolution_steps: int = 1) -> io.NodeOutput:
        height, width = image.shape[1:3]
        factor = math.sqrt(megapixels * 2**20 / (width * height))
        sides = [max(round(side * factor / resolution_steps), 1) * resolution_steps for side in (width, height)]
        return io.NodeOutput(scaled(image, sides[0], sides[1], upscale_method))


class ResizeImagesByLongerEdge(io.ComfyNode):
    """Pictures whose longer side is as given, by Lanczos."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ResizeImagesByLongerEdge",
            display_name="Resize Images by Longer Edge",
            category="image/transform",
            inputs=[io.Image.Input("images"), io.Int.Input("longer_edge", default=1024, min=1, max=8192)],
            outputs=[io.Image.Output("images")],
        )

    @classmethod
    def execute(cls, images: Tensor, longer_edge: int) -> io.NodeOutput:
        height, width = images.shape[1:3]
        factor = longer_edge / max(height, width)
        return io.NodeOutput(scaled(images, int(width * factor), int(height * factor), "lanczos"))


class ResizeAndPadImage(io.ComfyNode):
    """Pictures fitted into a size, with bars around."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ResizeAndPadImage",
            display_name="Resize and Pad Image",
            category="image/transform",
            inputs=[
                io.Image.Input("image"),
                io.Int.Input("target_width", default=512, min=1, max=16384),
                io.Int.Input("target_height", default=512, min=1, max=16384),
                io.Combo.Input("padding_color", options=["white", "black"]),
                _method(name="interpolation"),
            ],
            outputs=[io.Image.Output("IMAGE")],
        )

    @classmethod
    def execute(
        cls, image: Tensor, target_width: int, target_height: int, padding_color: str, interpolation: str
    ) -> io.NodeOutput:
        height, width = image.shape[1:3]
        factor = min(target_width / width, target_height / height)
        inside = scaled(image, int(width * factor), int(height * factor), interpolation)
        bars = float(padding_color == "white")
        whole = image.new_full((len(image), target_height, target_width, image.shape[3]), bars)
        top, left = (target_height - inside.shape[1]) // 2, (target_width - inside.shape[2]) // 2
        whole[:, top : top + inside.shape[1], left : left + inside.shape[2]] = inside
        return io.NodeOutput(whole)


def _side(name: str) -> io.BaseInput:
    return io.Int.Input(name, default=512, min=0, max=16384)


class ResizeImageMaskNode(io.ComfyNode):
    """Pictures or masks at a size, said in one of several ways."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        crop = io.Combo.Input("crop", options=CROPS, default="center")
        ways: dict[str, list[io.BaseInput]] = {
            "scale dimensions": [_side("width"), _side("height"), crop],
            "scale by multiplier": [io.Float.Input("multiplier", default=1.0, min=0.01, max=8.0, step=0.01)],
            "scale longer dimension": [_side("longer_size")],
            "scale shorter dimension": [_side("shorter_size")],
            "scale width": [_side("width")],
            "scale height": [_side("height")],
            "scale total pixels": [io.Float.Input("megapixels", default=1.0, min=0.01, max=16.0, step=0.01)],
            "match size": [io.AnyType.Input("match"), crop],
            "scale to multiple": [io.Int.Input("multiple", default=8, min=1, max=16384)],
        }
        return io.Schema(
            node_id="ResizeImageMaskNode",
            display_name="Resize Image/Mask",
            category="transform",
            inputs=[
                io.AnyType.Input("input"),
                io.DynamicCombo.Input(
                    "resize_type", options=[io.DynamicCombo.Option(name, inputs) for name, inputs in ways.items()]
                ),
                _method(name="scale_method"),
            ],
            outputs=[io.AnyType.Output("resized")],
        )

    @classmethod
    def execute(cls, input: Tensor, resize_type: dict[str, Any], scale_method: str) -> io.NodeOutput:
        images = input[..., None] if input.ndim == 3 else input
        found = _in_a_way(images, resize_type, scale_method)
        return io.NodeOutput(found[..., 0] if input.ndim == 3 else found)


def _in_a_way(images: Tensor, way: dict[str, Any], method: str) -> Tensor:
    (height, width), kind = images.shape[1:3], way["resize_type"]
    if kind == "scale dimensions":
        output: io.NodeOutput = ImageScale.execute(images, method, way["width"], way["height"], way["crop"])
        return output.args[0]  # type: ignore[no-any-return]
    if kind == "match size":
        other = way["match"].shape
        return scaled(images, other[2], other[1], method, way["crop"])
    if kind == "scale to multiple":
        cut_height, cut_width = (side // way["multiple"] * way["multiple"] for side in (height, width))
        return scaled(images, cut_width, cut_height, method, "center")
    factors: dict[str, Callable[[], float]] = {
        "scale by multiplier": lambda: way["multiplier"],
        "scale longer dimension": lambda: way["longer_size"] / max(height, width),
        "scale shorter dimension": lambda: way["shorter_size"] / min(height, width),
        "scale width": lambda: way["width"] / width,
        "scale height": lambda: way["height"] / height,
        "scale total pixels": lambda: math.sqrt(way["megapixels"] * 2**20 / (width * height)),
    }
    factor = factors[kind]()
    return scaled(images, max(round(width * factor), 1), max(round(height * factor), 1), method)


def _to_sides(images: Tensor, method: str, *, longer: int) -> Tensor:
    height, width = images.shape[1:3]
    other = round(min(height, width) / max(height, width) * longer)
    size = (longer, other) if width >= height else (other, longer)
    return scaled(images, *size, method)


SIZE_NODES: list[type[io.ComfyNode]] = [
    ImageScale,
    ImageScaleBy,
    ImageScaleToMaxDimension,
    ImageScaleToTotalPixels,
    ResizeImagesByLongerEdge,
    ResizeAndPadImage,
    ResizeImageMaskNode,
]
