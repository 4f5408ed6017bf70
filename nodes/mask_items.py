"""Keeping parts of a source: spatial masks and temporal retakes."""

from __future__ import annotations

from torch import Tensor

from ..media.resize import fill_and_crop
from ..model_loaders.parts import VideoPart
from ..samplers.conditioning import GivenStream, InpaintMask, TemporalRegions, cell_mask
from .encode import encode_frames
from .generations import of_part
from .host.api import io
from .latents import BOTH, Latent, layout_of, members, pixel_size, with_audio_item, with_video_item

VIDEO, AUDIO = "video", "audio"


class ConditionInpaint(io.ComfyNode):
    """Keeps what the mask leaves white, generates the rest."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXConditionInpaint",
            display_name="Condition: Inpaint Mask (LTX)",
            category="OpenLTX/conditioning",
            description="Generates the masked part of a clip and keeps the rest. A cell is kept or generated whole.",
            inputs=[
                io.Latent.Input("latent", tooltip="The latent of the stage that will be sampled."),
                io.Vae.Input("video_vae", tooltip="From a loader."),
                io.Image.Input("images", tooltip="The source, as long as the video."),
                io.Mask.Input("mask", tooltip="1: generate, 0: keep; one frame, or one a frame of the clip."),
                io.Float.Input("strength", default=1.0, min=0.0, max=1.0, step=0.01, tooltip="1 keeps exactly."),
                io.Combo.Input(
                    "reduction",
                    options=["max", "mean", "min"],
                    default="max",
                    tooltip="A cell (8 frames, 32 x 32 pixels) is generated if any pixel is (max), or all are (min).",
                ),
            ],
            outputs=[io.Latent.Output("latent", tooltip="The latent with the mask.")],
        )

    @classmethod
    def execute(
        cls, latent: Latent, video_vae: VideoPart, images: Tensor, mask: Tensor, strength: float, reduction: str
    ) -> io.NodeOutput:
        latent = of_part(latent, video_vae)
        layout, size = layout_of(latent), pixel_size(latent)
        if len(images) < layout.frames:
            raise ValueError(
                f"images: expected at least {layout.frames} frames, found {len(images)}; make the latent shorter"
            )
        source = encode_frames(video_vae, images[: layout.frames], *size)
        fitted = fitted_mask(mask, images, *size)[: layout.frames]
        generate = cell_mask(fitted[None], layout, reduction=reduction)  # type: ignore[arg-type]
        return io.NodeOutput(with_video_item(latent, InpaintMask(source=source, keep=1 - generate, strength=strength)))


class ConditionRetake(io.ComfyNode):
    """Generates a part of a clip's time again."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXConditionRetake",
            display_name="Condition: Retake (LTX)",
            category="OpenLTX/conditioning",
            description="Of an encoded clip, only this part of its time is generated again. Put it before other items.",
            inputs=[
                io.Latent.Input("latent", tooltip="The encoded source, video and sound."),
                io.Float.Input(
                    "start", default=0.0, min=0.0, max=3600.0, step=0.01, tooltip="Begin of the part, in seconds."
                ),
                io.Float.Input(
                    "end", default=1.0, min=0.0, max=3600.0, step=0.01, tooltip="End of the part, in seconds."
                ),
                io.Combo.Input(
                    "streams",
                    options=[BOTH, VIDEO, AUDIO],
                    default=BOTH,
                    tooltip="What to generate again; the other one stays as it is.",
                ),
            ],
            outputs=[io.Latent.Output("latent", tooltip="The latent with the region.")],
        )

    @classmethod
    def execute(cls, latent: Latent, start: float, end: float, streams: str) -> io.NodeOutput:
        region, pair = TemporalRegions(regions=((start, end),)), members(latent)
        if pair.video is not None:
            latent = with_video_item(latent, GivenStream(latent=pair.video) if streams == AUDIO else region)
        if pair.audio is not None:
            latent = with_audio_item(latent, GivenStream(latent=pair.audio) if streams == VIDEO else region)
        return io.NodeOutput(latent)


def fitted_mask(mask: Tensor, images: Tensor, height: int, width: int) -> Tensor:
    """A mask of the clip `images`, scaled and cropped with it: (frames, height, width); black and white stays so.

    mask (H, W) or (f, H, W), of the clip's own size, with one frame or one a frame of the clip; ValueError otherwise.
    """
    frames = mask if mask.ndim == 3 else mask[None]
    if frames.shape[1:] != images.shape[1:3] or len(frames) not in (1, len(images)):
        expected, found = ("x".join(map(str, reversed(shape))) for shape in (images.shape[1:3], frames.shape[1:]))
        raise ValueError(
            f"mask: expected 1 or {len(images)} frames of {expected} pixels, as the clip has, found {len(frames)} of "
            f"{found}; draw it on a frame of the clip"
        )
    fitted = fill_and_crop(frames[..., None].float(), height, width)[..., 0]
    binary = bool(((frames == 0) | (frames == 1)).all())
    return (fitted >= 0.5).float() if binary else fitted
