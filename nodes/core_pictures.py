"""Standalone copies of small core nodes on pictures, masks, sound and values; see nodes/core.py."""

# b pictures, h w rows, columns
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..media.images import read_image, recompress
from .core_sizes import scaled
from .host.api import input_file, input_files, io, output_file, ui
from .latents import Latent

CHANNELS = ["red", "green", "blue", "alpha"]
LARGEST = 16384


def _simple(name: str, inputs: list[io.BaseInput], outputs: list[io.BaseOutput], *, shows: bool = False) -> io.Schema:
    return io.Schema(
        node_id=name, display_name=name, category="core", inputs=inputs, outputs=outputs, is_output_node=shows
    )


class EmptyImage(io.ComfyNode):
    """Pictures of one colour, given as 0xRRGGBB."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        sides: list[io.BaseInput] = [io.Int.Input(n, default=512, min=1, max=LARGEST) for n in ("width", "height")]
        batch = io.Int.Input("batch_size", default=1, min=1, max=4096)
        colour = io.Int.Input("color", default=0, min=0, max=0xFFFFFF)
        return _simple("EmptyImage", [*sides, batch, colour], [io.Image.Output("IMAGE")])

    @classmethod
    def execute(cls, width: int, height: int, batch_size: int, color: int) -> io.NodeOutput:
        rgb = torch.tensor([color >> 16 & 255, color >> 8 & 255, color & 255]) / 255
        return io.NodeOutput(rgb.expand(batch_size, height, width, 3).clone())


class GetImageSize(io.ComfyNode):
    """Width, height, number of pictures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        names = ("width", "height", "batch_size")
        return _simple("GetImageSize", [io.Image.Input("image")], [io.Int.Output(name) for name in names])

    @classmethod
    def execute(cls, image: Tensor) -> io.NodeOutput:
        return io.NodeOutput(image.shape[2], image.shape[1], image.shape[0])


class ImageFromBatch(io.ComfyNode):
    """Some of several pictures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        first = io.Int.Input("batch_index", default=0, min=-4096, max=4095)
        count = io.Int.Input("length", default=1, min=1, max=4096)
        return _simple("ImageFromBatch", [io.Image.Input("image"), first, count], [io.Image.Output("IMAGE")])

    @classmethod
    def execute(cls, image: Tensor, batch_index: int, length: int) -> io.NodeOutput:
        first = max(min(batch_index + (len(image) if batch_index < 0 else 0), len(image) - 1), 0)
        return io.NodeOutput(image[first : first + length].clone())


class RepeatImageBatch(io.ComfyNode):
    """Pictures several times after each other."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        amount = io.Int.Input("amount", default=1, min=1, max=4096)
        return _simple("RepeatImageBatch", [io.Image.Input("image"), amount], [io.Image.Output("IMAGE")])

    @classmethod
    def execute(cls, image: Tensor, amount: int) -> io.NodeOutput:
        return io.NodeOutput(image.repeat(amount, 1, 1, 1))


class ImageBatch(io.ComfyNode):
    """Pictures after each other; the second ones are brought to the first ones' size."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs: list[io.BaseInput] = [io.Image.Input("image1"), io.Image.Input("image2")]
        return _simple("ImageBatch", inputs, [io.Image.Output("IMAGE")])

    @classmethod
    def execute(cls, image1: Tensor, image2: Tensor) -> io.NodeOutput:
        if image1.shape[1:3] != image2.shape[1:3]:
            image2 = scaled(image2, image1.shape[2], image1.shape[1], "bilinear", "center")
        return io.NodeOutput(torch.cat([image1, image2.to(image1)]))


class LTXVPreprocess(io.ComfyNode):
    """Pictures after a trip through H.264, from whole codes of 8 bits, the rest of which is cut off as in ComfyUI."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        compression = io.Int.Input("img_compression", default=35, min=0, max=100)
        return _simple("LTXVPreprocess", [io.Image.Input("image"), compression], [io.Image.Output("output_image")])

    @classmethod
    def execute(cls, image: Tensor, img_compression: int) -> io.NodeOutput:
        if img_compression == 0:
            return io.NodeOutput(image)
        codes = (image.float() * 255).byte().cpu().numpy()
        packed = [recompress(picture, min(img_compression, 51)) for picture in codes]
        return io.NodeOutput(torch.stack([torch.from_numpy(np.array(picture)).float() / 255 for picture in packed]))


class ImageInvert(io.ComfyNode):
    """Negatives."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return _simple("ImageInvert", [io.Image.Input("image")], [io.Image.Output("IMAGE")])

    @classmethod
    def execute(cls, image: Tensor) -> io.NodeOutput:
        return io.NodeOutput(1.0 - image)


class ImageToMask(io.ComfyNode):
    """A colour of pictures as masks."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        channel = io.Combo.Input("channel", options=CHANNELS)
        return _simple("ImageToMask", [io.Image.Input("image"), channel], [io.Mask.Output("MASK")])

    @classmethod
    def execute(cls, image: Tensor, channel: str) -> io.NodeOutput:
        place = CHANNELS.index(channel)
        return io.NodeOutput(image[..., place] if place < image.shape[-1] else torch.ones_like(image[..., 0]))


class MaskToImage(io.ComfyNode):
    """Masks as grey pictures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return _simple("MaskToImage", [io.Mask.Input("mask")], [io.Image.Output("IMAGE")])

    @classmethod
    def execute(cls, mask: Tensor) -> io.NodeOutput:
        return io.NodeOutput(mask.reshape(-1, *mask.shape[-2:], 1).expand(-1, -1, -1, 3).clone())


class InvertMask(io.ComfyNode):
    """The other part."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return _simple("InvertMask", [io.Mask.Input("mask")], [io.Mask.Output("MASK")])

    @classmethod
    def execute(cls, mask: Tensor) -> io.NodeOutput:
        return io.NodeOutput(1.0 - mask)


class SolidMask(io.ComfyNode):
    """A mask of one value."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        sides: list[io.BaseInput] = [io.Int.Input(n, default=512, min=1, max=LARGEST) for n in ("width", "height")]
        value = io.Float.Input("value", default=1.0, min=0.0, max=1.0, step=0.01)
        return _simple("SolidMask", [value, *sides], [io.Mask.Output("MASK")])

    @classmethod
    def execute(cls, value: float, width: int, height: int) -> io.NodeOutput:
        return io.NodeOutput(torch.full((1, height, width), value))


class GrowMask(io.ComfyNode):
    """Masks larger, or smaller, by so many pixels; tapered: without their corners."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        expand = io.Int.Input("expand", default=0, min=-LARGEST, max=LARGEST)
        corners = io.Boolean.Input("tapered_corners", default=True)
        return _simple("GrowMask", [io.Mask.Input("mask"), expand, corners], [io.Mask.Output("MASK")])

    @classmethod
    def execute(cls, mask: Tensor, expand: int, tapered_corners: bool) -> io.NodeOutput:
        kernel = torch.ones(3, 3) - torch.tensor([[1, 0, 1], [0, 0, 0], [1, 0, 1]]) * float(tapered_corners)
        found = mask.reshape(-1, 1, *mask.shape[-2:]).float()
        for _ in range(abs(expand)):
            found = _spread(found, kernel) if expand > 0 else 1 - _spread(1 - found, kernel)
        return io.NodeOutput(found[:, 0])


def _spread(mask: Tensor, kernel: Tensor) -> Tensor:
    """The largest value under the kernel's ones (b, 1, h, w)."""
    patches = F.unfold(F.pad(mask, (1, 1, 1, 1)), 3)  # b 9 h*w
    return patches[:, kernel.flatten() > 0].amax(dim=1).reshape(mask.shape)


class LoadImageMask(io.ComfyNode):
    """A colour of a picture file as a mask."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs: list[io.BaseInput] = [
            io.Combo.Input("image", options=input_files("image"), upload=io.UploadType.image),
            io.Combo.Input("channel", options=["alpha", "red", "green", "blue"]),
        ]
        return _simple("LoadImageMask", inputs, [io.Mask.Output("MASK")])

    @classmethod
    def execute(cls, image: str, channel: str) -> io.NodeOutput:
        if channel == "alpha":
            return io.NodeOutput(transparency(input_file(image))[None])
        pixels = torch.from_numpy(read_image(input_file(image)).copy()).float() / 255
        return io.NodeOutput(pixels[None, ..., CHANNELS.index(channel)])


class SetLatentNoiseMask(io.ComfyNode):
    """What of a latent is made anew: 1 yes, 0 no."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        inputs: list[io.BaseInput] = [io.Latent.Input("samples"), io.Mask.Input("mask")]
        return _simple("SetLatentNoiseMask", inputs, [io.Latent.Output("LATENT")])

    @classmethod
    def execute(cls, samples: Latent, mask: Tensor) -> io.NodeOutput:
        return io.NodeOutput({**samples, "noise_mask": mask.reshape(-1, 1, *mask.shape[-2:])})


class TrimAudioDuration(io.ComfyNode):
    """Some seconds of sound."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        first = io.Float.Input("start_index", default=0.0, min=-1e7, max=1e7, step=0.01)
        length = io.Float.Input("duration", default=60.0, min=0.0, step=0.01)
        return _simple("TrimAudioDuration", [io.Audio.Input("audio"), first, length], [io.Audio.Output("AUDIO")])

    @classmethod
    def execute(cls, audio: dict[str, Any] | None, start_index: float, duration: float) -> io.NodeOutput:
        if audio is None:
            return io.NodeOutput(None)
        waveform, rate = audio["waveform"], int(audio["sample_rate"])
        first = min(
            max(round(start_index * rate) + (waveform.shape[-1] if start_index < 0 else 0), 0), waveform.shape[-1]
        )
        last = first + round(duration * rate) if duration else waveform.shape[-1]
        return io.NodeOutput({**audio, "waveform": waveform[..., first:last]})


class PreviewImage(io.ComfyNode):
    """Pictures to look at, in the folder of temporary files."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return _simple("PreviewImage", [io.Image.Input("images")], [io.Image.Output("IMAGE")], shows=True)

    @classmethod
    def execute(cls, images: Tensor) -> io.NodeOutput:
        entries = []
        for picture in (images.float().clamp(0, 1) * 255).byte().cpu().numpy():
            saved = output_file("preview", ".png", temporary=True)
            Image.fromarray(picture).save(saved.path)
            entries.append(saved.ui_entry())
        return io.NodeOutput(images, ui={"images": entries})


class PreviewAny(io.ComfyNode):
    """A value to read."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return _simple("PreviewAny", [io.AnyType.Input("source")], [io.String.Output("STRING")], shows=True)

    @classmethod
    def execute(cls, source: Any) -> io.NodeOutput:
        return io.NodeOutput(str(source), ui=ui.PreviewText(str(source)))


def transparency(path: Path) -> Tensor:
    """(H, W): 1 where a picture is transparent; without an alpha channel 64 x 64 zeros, as in ComfyUI."""
    with Image.open(path) as image:
        if "A" not in image.getbands():
            return torch.zeros(64, 64)
        return 1.0 - torch.from_numpy(np.array(image.getchannel("A"))).float() / 255.0


PICTURE_NODES: list[type[io.ComfyNode]] = [
    *(EmptyImage, GetImageSize, ImageFromBatch, RepeatImageBatch, ImageBatch, ImageInvert, LTXVPreprocess),
    *(ImageToMask, MaskToImage, InvertMask, SolidMask, GrowMask, LoadImageMask),
    *(SetLatentNoiseMask, TrimAudioDuration, PreviewImage, PreviewAny),
]
