"""Clips made ready for IC-LoRAs, and results put back into their source (spec pipelines.md sections 6, 12 and 15)."""

# f frames, h w rows, columns of pixels
from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor

from ..media.resize import aligned_up, fill_and_crop, fit_and_pad
from ..samplers.community import grow_mask, inpaint_clip
from ..samplers.shapes import snap_frames
from .host.api import io
from .made import made_of, merged_steps, with_steps
from .mask_items import fitted_mask

CATEGORY = "OpenLTX/clips"


class StillClip(io.ComfyNode):
    """A picture → a clip that stands still."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXStillClip",
            display_name="Still Clip (LTX)",
            category=CATEGORY,
            description="Repeats a picture, as the reference sheet of the ingredients LoRA is shown to the model.",
            inputs=[
                io.Image.Input("image", tooltip="The picture; of several the first one."),
                io.Int.Input("frames", default=121, min=1, max=8193, tooltip="Frames; connect those of the latent."),
            ],
            outputs=[io.Image.Output("images", tooltip="The clip.")],
        )

    @classmethod
    def execute(cls, image: Tensor, frames: int) -> io.NodeOutput:
        return io.NodeOutput(repeat(image[0], "h w c -> f h w c", f=frames))


class PadClip(io.ComfyNode):
    """A clip → one whose sides are multiples, mirrored at bottom and right; on request every frame twice."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXPadClip",
            display_name="Pad Clip (LTX)",
            category=CATEGORY,
            description="Brings a clip to a legal size without cutting anything: Crop Clip undoes it after decoding.",
            inputs=[
                io.Image.Input("images", tooltip="The clip; frames beyond 8n+1 are left out."),
                io.Int.Input(
                    "multiple",
                    default=64,
                    min=32,
                    max=256,
                    step=32,
                    tooltip="Pixels: width and height become multiples of this; 64 for two stages.",
                ),
                io.Boolean.Input(
                    "double_frames", default=False, tooltip="High quality: every frame twice, 2n-1 frames of n."
                ),
            ],
            outputs=[
                io.Image.Output("images", tooltip="The padded clip."),
                io.Int.Output("width", tooltip="Pixels."),
                io.Int.Output("height", tooltip="Pixels."),
                io.Int.Output("frames", tooltip="8n+1 frames."),
            ],
        )

    @classmethod
    def execute(cls, images: Tensor, multiple: int, double_frames: bool) -> io.NodeOutput:
        images = images[: snap_frames(len(images)), ..., :3]
        if double_frames:
            images = images.repeat_interleave(2, dim=0)[:-1]
        width, height = aligned_up(images.shape[2], images.shape[1], multiple)
        return io.NodeOutput(fit_and_pad(images, height, width), width, height, len(images))


class CropClip(io.ComfyNode):
    """Undoes Pad Clip."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXCropClip",
            display_name="Crop Clip (LTX)",
            category=CATEGORY,
            description="Cuts off what Pad Clip added; of twice as many frames, every second one is kept.",
            inputs=[
                io.Image.Input("images", tooltip="The decoded clip."),
                io.Image.Input("like", tooltip="The clip before Pad Clip: its size is kept."),
            ],
            outputs=[io.Image.Output("images", tooltip="The clip in its first size.")],
        )

    @classmethod
    def execute(cls, images: Tensor, like: Tensor) -> io.NodeOutput:
        frames, history = snap_frames(len(like)), made_of(images)
        if frames > 1 and len(images) == 2 * frames - 1:
            images = images[::2]
        height, width = like.shape[1:3]
        if len(images) != frames or images.shape[1] < height or images.shape[2] < width:
            raise ValueError(
                f"images: expected {frames} or {2 * frames - 1} frames of at least {width}x{height} pixels, found "
                f"{len(images)} of {images.shape[2]}x{images.shape[1]}; connect what was made of the padded clip"
            )
        return io.NodeOutput(with_steps(images[:, :height, :width], history))


class OutpaintClip(io.ComfyNode):
    """A clip → one with borders to paint."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXOutpaintClip",
            display_name="Outpaint Clip (LTX)",
            category=CATEGORY,
            description="Adds borders in the green that the in- and outpainting LoRA reads as 'paint here'.",
            inputs=[
                io.Image.Input("images", tooltip="The clip."),
                _side("left"),
                _side("top"),
                _side("right"),
                _side("bottom"),
            ],
            outputs=[
                io.Image.Output("images", tooltip="The control clip."),
                io.Mask.Output("mask", tooltip="1 on the borders."),
            ],
        )

    @classmethod
    def execute(cls, images: Tensor, left: int, top: int, right: int, bottom: int) -> io.NodeOutput:
        if not left + top + right + bottom:
            raise ValueError("outpaint: expected pixels to add at a side at least, found 0 everywhere; set one")
        sides = (left, right, top, bottom)
        padded = F.pad(rearrange(images[..., :3], "f h w c -> f c h w"), sides)
        mask = F.pad(torch.zeros(1, *images.shape[1:3]), sides, value=1.0)
        return io.NodeOutput(inpaint_clip(rearrange(padded, "f c h w -> f h w c"), mask), mask)


class InpaintClip(io.ComfyNode):
    """A clip and a mask → a control clip with holes to paint."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXInpaintClip",
            display_name="Inpaint Clip (LTX)",
            category=CATEGORY,
            description="Fills the masked part with the green that the in- and outpainting LoRA reads as 'paint here'.",
            inputs=[
                io.Image.Input("images", tooltip="The clip."),
                io.Mask.Input("mask", tooltip="1: paint; one frame, or one a frame of the clip, of its size."),
                io.Int.Input("grow", default=8, min=0, max=512, tooltip="Pixels by which the mask grows."),
                io.Int.Input("grow_frames", default=0, min=0, max=64, tooltip="Frames by which it grows in time."),
            ],
            outputs=[
                io.Image.Output("images", tooltip="The control clip."),
                io.Mask.Output("mask", tooltip="The grown mask."),
            ],
        )

    @classmethod
    def execute(cls, images: Tensor, mask: Tensor, grow: int, grow_frames: int) -> io.NodeOutput:
        grown = grow_mask(mask if mask.ndim == 3 else mask[None], grow, grow_frames)
        return io.NodeOutput(inpaint_clip(images, grown), grown)


class CompositeClip(io.ComfyNode):
    """A result inside a mask, its source outside."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXCompositeClip",
            display_name="Composite Clip (LTX)",
            category=CATEGORY,
            description="Puts the source back outside the mask, over a soft border. It is scaled and cropped to the "
            "result, as it was for the model.",
            inputs=[
                io.Image.Input("images", tooltip="The result."),
                io.Image.Input("source", tooltip="The source, or the control clip."),
                io.Mask.Input("mask", tooltip="1: the result; of the source's size."),
                io.Int.Input("grow", default=0, min=0, max=512, tooltip="Pixels by which the result reaches further."),
                io.Int.Input("blur", default=8, min=0, max=256, tooltip="Half width of the soft border in pixels."),
            ],
            outputs=[io.Image.Output("images", tooltip="The composite; the shorter clip decides.")],
        )

    @classmethod
    def execute(cls, images: Tensor, source: Tensor, mask: Tensor, grow: int, blur: int) -> io.NodeOutput:
        height, width = images.shape[1:3]
        count = min(len(images), len(source))
        inside = _soft(fitted_mask(mask, source, height, width), grow, blur)[:count, ..., None].to(images)
        outside = fill_and_crop(source[:count, ..., :3], height, width).to(images)
        composite = torch.lerp(outside, images[:count, ..., :3], inside)
        return io.NodeOutput(with_steps(composite, merged_steps(made_of(images), made_of(source))))


def _side(name: str) -> io.BaseInput:
    return io.Int.Input(name, default=0, min=0, max=8192, tooltip=f"Pixels to add at the {name}.")


def _soft(mask: Tensor, grow: int, blur: int) -> Tensor:
    """A mask (f, h, w), grown, then averaged over a square of 2 blur + 1 pixels."""
    grown = grow_mask(mask, grow, 0) if grow else mask
    if not blur:
        return grown
    padded = F.pad(grown[:, None], (blur,) * 4, mode="replicate")
    return F.avg_pool2d(padded, 2 * blur + 1, stride=1)[:, 0]
