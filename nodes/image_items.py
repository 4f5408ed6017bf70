"""Pictures and control clips as conditioning; every node shows the frame that it really binds to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from torch import Tensor

from ..media.images import prepare_clip, prepare_image
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
from ..samplers.shapes import SCALE, VideoGrid, even_keyframes, pixel_frames, snap_frames
from .encode import clip_frames, encode_frames, encode_pixels
from .generations import of_latent, of_part
from .host.api import io
from .latents import WINDOW, Latent, keyframes_of, layout_of, pixel_size, video_of, with_video_item
from .mask_items import fitted_mask

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
                io.Int.Input(
                    "frame", default=0, min=-8193, max=8192, tooltip="Frame of the clip, from 0; -1: the last."
                ),
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
                    tooltip="H.264 compression that models saw in their pictures: -1: by generation; 0: none (HDR).",
                ),
                io.Float.Input(
                    "attention",
                    optional=True,
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How strongly the video sees an appended picture, 0 to 1.",
                ),
            ],
            outputs=[
                io.Latent.Output("latent", tooltip="The latent with the picture."),
                io.String.Output("frames", tooltip="The frames that it binds to."),
            ],
        )

    @classmethod
    def execute(
        cls,
        latent: Latent,
        video_vae: VideoPart,
        image: Tensor,
        frame: int,
        strength: float,
        placement: str,
        crf: int,
        attention: float = 1.0,
    ) -> io.NodeOutput:
        latent = of_part(latent, video_vae)
        layout, size = layout_of(latent), pixel_size(latent)
        window = latent.get(WINDOW)
        if window is not None:
            local = window.local(frame)
            if local is None:
                return io.NodeOutput(latent, f"none: frame {frame} lies beyond this tile")
            frame = local
        if len(image) == 1:
            quality = DEFAULT_CRF.get(video_vae.generation or "2.3", 33) if crf < 0 else crf
            content = encode_pixels(video_vae, _prepared(image, *size, crf=quality))
            item = place_image(content, frame, layout, strength=strength, placement=placement)  # type: ignore[arg-type]
        else:
            content = encode_frames(video_vae, image, *size)
            first = resolve_frame(frame, layout.frames)
            # In the middle of a video every latent frame stands for 8 pictures, at its start the first one for 1.
            count = content.shape[2] * layout.scale.time if first else pixel_frames(content.shape[2])
            item = Keyframe(latent=content, frame=first, strength=strength, pixel_frames=count)
        if isinstance(item, Keyframe):
            item = replace(item, attention=attention)
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
                io.Int.Input(
                    "space_factor",
                    default=1,
                    min=1,
                    max=32,
                    tooltip="Downscale factor of the LoRA; 2: the clip has half the width and height of the video.",
                ),
                io.Int.Input(
                    "time_factor",
                    default=1,
                    min=1,
                    max=32,
                    tooltip="Temporal factor of the LoRA: frames of the video for one of the clip.",
                ),
                io.Float.Input("strength", default=1.0, min=0.0, max=1.0, step=0.01, tooltip="1 keeps it exactly."),
                io.Float.Input(
                    "attention",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How strongly the video sees it; 1: fully, 0: not at all.",
                ),
                io.Vae.Input("video_vae", optional=True, tooltip="From a loader; to encode `images`."),
                io.Image.Input("images", optional=True, tooltip="The clip; what is longer than the video is left out."),
                io.Latent.Input(
                    "reference", optional=True, tooltip="Or the clip as a latent, of a smaller stage for instance."
                ),
                io.Mask.Input(
                    "mask", optional=True, tooltip="Where the clip is seen: 1 frame, or one a frame of the clip."
                ),
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
        space_factor: int,
        time_factor: int,
        strength: float,
        attention: float,
        video_vae: VideoPart | None = None,
        images: Tensor | None = None,
        reference: Latent | None = None,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        factors, seen = ReferenceFactors(space=space_factor, time=time_factor), float(attention)
        if reference is not None:
            refuse_mask_of_latent(mask)
            latent = of_latent(latent, reference, "reference")
            content, weights = video_of(reference), None
        else:
            latent = latent if video_vae is None else of_part(latent, video_vae)
            content, weights = _encoded_reference(latent, factors, video_vae, images, mask)
        item = ReferenceVideo(
            latent=content, factors=factors, strength=strength, attention=seen if weights is None else weights * seen
        )
        layout = layout_of(latent)
        shown = range(min((clip_frames(content) - 1) * time_factor + 1, layout.frames))
        return io.NodeOutput(with_video_item(latent, item), frames_text(shown, layout.fps))


def _encoded_reference(
    latent: Latent, factors: ReferenceFactors, video_vae: VideoPart | None, images: Tensor | None, mask: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """The clip's latent for this stage, and the mask as weights of its tokens."""
    if video_vae is None or images is None:
        raise ValueError("reference video: expected a latent, or a clip and a video VAE, found neither; connect one")
    multiple, (height, width) = SCALE.space * factors.space, pixel_size(latent)
    if height % multiple or width % multiple:
        raise ValueError(
            f"reference video: expected a stage in multiples of {multiple} pixels for a factor of {factors.space}, "
            f"found {width}x{height}; choose another size"
        )
    count = snap_frames(min(len(images), layout_of(latent).frames))
    kept, size = reference_frames(count, factors), reference_size(height, width, factors)
    content = encode_frames(video_vae, images[kept], *size)
    if mask is None:
        return content, None
    fitted = fitted_mask(mask, images, *size)
    frames = fitted if len(fitted) == 1 else fitted[kept][: clip_frames(content)]
    return content, mask_strength(frames[None, None], VideoGrid(*content.shape[2:]))


def refuse_mask_of_latent(mask: Tensor | None) -> None:
    if mask is not None:
        raise ValueError("mask: expected none beside a reference latent, whose pixels are not known; connect the clip")


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
                io.String.Input(
                    "frames",
                    default="",
                    tooltip="Frames from 0, commas between them; -1: the last; empty: evenly spaced.",
                ),
                io.Int.Input("count", default=3, min=1, max=64, tooltip="How many, where no frames are named."),
                io.Latent.Input(
                    "seeds",
                    optional=True,
                    tooltip="Keyframes of a former stage that the slots start from (no random seeds); "
                    "they bring their frames.",
                ),
            ],
            outputs=[
                io.Latent.Output("latent", tooltip="The latent with the slots."),
                io.String.Output("frames", tooltip="The frames of the slots."),
            ],
        )

    @classmethod
    def execute(cls, latent: Latent, frames: str, count: int, seeds: Latent | None = None) -> io.NodeOutput:
        layout = layout_of(latent)
        if seeds is not None:
            latent = of_latent(latent, seeds, "seeds")
            named = keyframes_of(seeds)
        elif frames.strip():
            named = tuple(slot_frames(_integers(frames), layout.frames))
        else:
            named = tuple(even_keyframes(count, layout.frames))
        item = KeyframeSlots(positions=named, seeds=None if seeds is None else video_of(seeds))
        shown = ", ".join(frames_text(range(frame, frame + 1), layout.fps) for frame in named)
        return io.NodeOutput(with_video_item(latent, item), shown)


def _prepared(image: Tensor, height: int, width: int, *, crf: int) -> Tensor:
    """One picture (1, H, W, C) in 0 … 1 → (1, 3, 1, height, width) in -1 … 1; more than 8 bits are kept without crf."""
    if crf == 0:
        return prepare_clip(image[..., :3].float().clamp(0, 1) * 255.0, height, width)
    return prepare_image(_bytes(image[0]), height, width, crf=crf)


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
