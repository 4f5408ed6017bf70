"""Pictures and control clips as conditioning; every node shows the frame that it really binds to."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from ..media.images import prepare_image
from ..model_loaders.parts import VideoPart
from ..samplers.conditioning import (
    Keyframe,
    KeyframeSlots,
    ReferenceFactors,
    ReferenceVideo,
    frames_text,
    mask_strength,
    place_image,
    reference_frames,
    reference_size,
    resolve_frame,
    slot_frames,
)
from ..samplers.shapes import VideoGrid, even_keyframes, pixel_frames, snap_frames
from .encode import encode_frames, encode_pixels
from .host.api import io
from .latents import Latent, layout_of, pixel_size, with_video_item

DEFAULT_CRF = {"2": 33, "2.3": 33, "2.5": 18}
PLACEMENTS = ["recipe", "append", "replace"]


class ConditionImage(io.ComfyNode):
    """A picture, or a clip, at a frame."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXConditionImage",
            display_name="Condition: Image (LTX)",
            category="OpenLTX/conditioning",
            description="Pins a picture, or a short clip, to a frame of the video. Chain as many as you like.",
            inputs=[
                io.Latent.Input("latent", tooltip="The latent of the stage that will be sampled."),
                io.Vae.Input("video_vae", tooltip="From a loader."),
                io.Image.Input("image", tooltip="A picture; several frames (8n+1) are a clip."),
                io.Int.Input("frame", default=0, min=-8193, max=8192, tooltip="Frame of the clip; -1: the last."),
                io.Float.Input(
                    "strength", default=1.0, min=0.0, max=1.0, step=0.01, tooltip="1 keeps it exactly, 0 ignores it."
                ),
                io.Combo.Input(
                    "placement",
                    options=PLACEMENTS,
                    default="recipe",
                    tooltip="recipe: replaces at frame 0, appends elsewhere; append: that frame exactly; "
                    "replace: the whole group of 8 frames.",
                ),
                io.Int.Input(
                    "crf",
                    default=-1,
                    min=-1,
                    max=51,
                    tooltip="H.264 compression that models saw in their pictures: -1: of the generation; 0: none.",
                ),
            ],
            outputs=[
                io.Latent.Output("latent", tooltip="The latent with the picture."),
                io.String.Output("frames", tooltip="The frames that it binds to."),
            ],
        )

    @classmethod
    def execute(
        cls, latent: Latent, video_vae: VideoPart, image: Tensor, frame: int, strength: float, placement: str, crf: int
    ) -> io.NodeOutput:
        layout, size = layout_of(latent), pixel_size(latent)
        if len(image) == 1:
            quality = DEFAULT_CRF.get(video_vae.generation or "2.3", 33) if crf < 0 else crf
            content = encode_pixels(video_vae, prepare_image(_bytes(image[0]), *size, crf=quality))
            item = place_image(content, frame, layout, strength=strength, placement=placement)  # type: ignore[arg-type]
        else:
            content = encode_frames(video_vae, image, *size)
            first = resolve_frame(frame, layout.frames)
            # In the middle of a video every latent frame stands for 8 pictures, at its start the first one for 1.
            count = content.shape[2] * layout.scale.time if first else pixel_frames(content.shape[2])
            item = Keyframe(latent=content, frame=first, strength=strength, pixel_frames=count)
        return io.NodeOutput(with_video_item(latent, item), frames_text(item.frames(layout), layout.fps))


class ConditionReference(io.ComfyNode):
    """A control clip for an IC-LoRA."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXConditionReference",
            display_name="Condition: Reference Video (LTX)",
            category="OpenLTX/conditioning",
            description="A control clip (depth, pose, edges, a source) that the video attends to, for an IC-LoRA.",
            inputs=[
                io.Latent.Input("latent", tooltip="The latent of the stage that will be sampled."),
                io.Vae.Input("video_vae", tooltip="From a loader."),
                io.Image.Input("images", tooltip="The clip; what is longer than the video is left out."),
                io.Int.Input("space_factor", default=1, min=1, max=32, tooltip="Downscale factor of the LoRA."),
                io.Int.Input("time_factor", default=1, min=1, max=32, tooltip="Temporal factor of the LoRA."),
                io.Float.Input("strength", default=1.0, min=0.0, max=1.0, step=0.01, tooltip="1 keeps it exactly."),
                io.Float.Input(
                    "attention", default=1.0, min=0.0, max=1.0, step=0.01, tooltip="How strongly the video sees it."
                ),
                io.Mask.Input("mask", optional=True, tooltip="Where it is seen: 1 frame, or one a frame of the clip."),
            ],
            outputs=[
                io.Latent.Output("latent", tooltip="The latent with the reference."),
                io.String.Output("frames", tooltip="The frames that it lies beside."),
            ],
        )

    @classmethod
    def execute(
        cls,
        latent: Latent,
        video_vae: VideoPart,
        images: Tensor,
        space_factor: int,
        time_factor: int,
        strength: float,
        attention: float,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        layout, factors = layout_of(latent), ReferenceFactors(space=space_factor, time=time_factor)
        clip = images[: snap_frames(min(len(images), layout.frames))]
        kept = clip[reference_frames(len(clip), factors)]
        content = encode_frames(video_vae, kept, *reference_size(*pixel_size(latent), factors))
        seen: float | Tensor = attention
        if mask is not None:
            frames = mask.reshape(1, 1, *mask.shape[-3:]) if mask.ndim > 2 else mask[None, None, None]
            seen = mask_strength(frames, VideoGrid(*content.shape[2:]), attention)
        item = ReferenceVideo(latent=content, factors=factors, strength=strength, attention=seen)
        return io.NodeOutput(with_video_item(latent, item), frames_text(range(len(clip)), layout.fps))


class ConditionSlots(io.ComfyNode):
    """Extra pictures that the model generates beside the video."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXConditionSlots",
            display_name="Condition: Keyframe Slots (LTX)",
            category="OpenLTX/conditioning",
            description="LTX-2.5: generates single pictures at these frames too. They come out of Sample.",
            inputs=[
                io.Latent.Input("latent", tooltip="The latent of the stage that will be sampled."),
                io.String.Input("frames", default="", tooltip="Frames with commas between them; empty: evenly spaced."),
                io.Int.Input("count", default=3, min=1, max=64, tooltip="How many, where no frames are named."),
            ],
            outputs=[
                io.Latent.Output("latent", tooltip="The latent with the slots."),
                io.String.Output("frames", tooltip="The frames of the slots."),
            ],
        )

    @classmethod
    def execute(cls, latent: Latent, frames: str, count: int) -> io.NodeOutput:
        layout = layout_of(latent)
        named = (
            slot_frames(_integers(frames), layout.frames) if frames.strip() else even_keyframes(count, layout.frames)
        )
        item = KeyframeSlots(positions=tuple(named))
        shown = ", ".join(frames_text(range(frame, frame + 1), layout.fps) for frame in named)
        return io.NodeOutput(with_video_item(latent, item), shown)


def _bytes(image: Tensor) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    """(H, W, C) in 0 … 1 → uint8 (H, W, 3)."""
    pixels: np.ndarray[tuple[int, int, int], np.dtype[np.uint8]] = (
        (image[..., :3].float().clamp(0, 1) * 255).round().byte().cpu().numpy()
    )
    return pixels


def _integers(text: str) -> list[int]:
    try:
        return [int(word) for word in text.replace(",", " ").split()]
    except ValueError as error:
        raise ValueError(f"frames: expected whole numbers with commas between them, found {text!r}") from error
