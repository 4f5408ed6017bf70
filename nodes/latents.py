"""LATENT on the wires: ComfyUI's nested pair of a video and an audio latent, with the frame rate beside it.

A plain 5-D tensor is a video latent alone, a plain 4-D one with 16 bins an audio latent alone. What conditioning nodes
add travels under a key of our own until a stage is sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..model_loaders.parts import AUDIO_BINS, DiffusionModel
from ..samplers.conditioning import ConditioningItem, check_items
from ..samplers.dfr import TemporalTile
from ..samplers.shapes import (
    SCALE,
    VideoGrid,
    audio_latent_frames,
    latent_grid,
    nearest_frames,
    nearest_size,
)
from ..samplers.state import AudioLayout, VideoLayout
from ..samplers.streams import Streams
from .generations import of_part
from .host.api import NestedTensor, io, warn_user

FRAME_RATE = "frame_rate"
# Of the two streams apart, because ComfyUI's nodes join the entries of a video and an audio latent by their names.
VIDEO_ITEMS, AUDIO_ITEMS = "openltx_video_items", "openltx_audio_items"
# Of generated keyframes, under ComfyUI's names: their pixel frames, one a latent frame, and the clip's frames.
KEYFRAMES, KEYFRAME_CLIP = "generated_keyframe_indices", "generated_keyframe_num_frames"
FIRST_CLIP = "openltx_first_stage_frames"  # of keyframes of a rendering round: what pictures count in
BOTH, VIDEO_ONLY, AUDIO_ONLY = "video and audio", "video only", "audio only"
WINDOW = "openltx_window"  # of a tile: a Window
Latent = dict[str, Any]
Items = tuple[ConditioningItem, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class Window:
    """Which part of a clip a latent is, and the keyframes of the whole clip.

    factor: frames of the clip to one of the first stage; known: pixel frames of `keyframes` (B, C, K, H, W), as the
    clip counts now, its last one included.
    """

    tile: TemporalTile
    factor: int
    known: tuple[int, ...]
    keyframes: Tensor

    @property
    def first_stage_frames(self) -> int:
        """Pixel frames of the clip before any were doubled."""
        return self.known[-1] // self.factor + 1

    def local(self, frame: int) -> int | None:
        """The tile's own number of frame `frame` of the first stage (-1: its last); None beyond the tile."""
        counted = frame if frame >= 0 else frame + self.first_stage_frames
        place = counted * self.factor - self.tile.first_pixel
        return place if 0 <= place <= self.tile.last_pixel - self.tile.first_pixel else None


class EmptyAVLatent(io.ComfyNode):
    """Sizes → an empty latent for video and sound of the same duration."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXEmptyAVLatent",
            display_name="Empty AV Latent (LTX)",
            category="OpenLTX/latent",
            description="An empty latent for video and sound. Sizes off the grid are snapped, and it says so.",
            inputs=[
                io.Model.Input("model", tooltip="The model that will fill it: it sets the number of channels."),
                io.Int.Input(
                    "width", default=768, min=1, max=16384, step=SCALE.space, tooltip="Pixels; multiples of 32."
                ),
                io.Int.Input(
                    "height", default=512, min=1, max=16384, step=SCALE.space, tooltip="Pixels; multiples of 32."
                ),
                io.Int.Input(
                    "frames", default=121, min=1, max=8193, step=SCALE.time, tooltip="Frames; multiples of 8, plus 1."
                ),
                io.Float.Input("frame_rate", default=24.0, min=1.0, max=240.0, step=0.001, tooltip="Frames a second."),
                io.Combo.Input(
                    "streams",
                    options=[BOTH, VIDEO_ONLY, AUDIO_ONLY],
                    default=BOTH,
                    optional=True,
                    tooltip="What is generated; of audio only, frames and frame_rate set the duration.",
                ),
                io.Int.Input(
                    "divisor",
                    default=1,
                    min=1,
                    max=8,
                    optional=True,
                    tooltip="2: half the size, for the first of two stages; width and height are the final ones.",
                ),
            ],
            outputs=[
                io.Latent.Output("latent", tooltip="Video and audio latent."),
                io.Float.Output("frame_rate", tooltip="The frame rate, for saving."),
                io.Int.Output("frames", tooltip="Frames after snapping."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: DiffusionModel,
        width: int,
        height: int,
        frames: int,
        frame_rate: float,
        streams: str = BOTH,
        divisor: int = 1,
    ) -> io.NodeOutput:
        sides = (_snapped_side(name, side, divisor) for name, side in (("width", width), ("height", height)))
        width, height = (1, 1) if streams == AUDIO_ONLY else sides
        frames = _snapped("frames", frames, nearest_frames(frames), "8n+1")
        pair = Streams(
            video=None if streams == AUDIO_ONLY else torch.zeros(1, *_video_shape(model, frames, height, width)),
            audio=None if streams == VIDEO_ONLY else torch.zeros(1, *_audio_shape(model, frames, frame_rate)),
        )
        latent = of_part({"samples": joined(pair), FRAME_RATE: frame_rate}, model)
        return io.NodeOutput(latent, frame_rate, frames)


def _video_shape(model: DiffusionModel, frames: int, height: int, width: int) -> tuple[int, ...]:
    if not model.video_channels:
        raise ValueError(f"{model.path.name}: expected a model for video, found one for sound alone; make audio only")
    return model.video_channels, *latent_grid(frames, height, width)


def _audio_shape(model: DiffusionModel, frames: int, frame_rate: float) -> tuple[int, ...]:
    if not model.audio_channels:
        raise ValueError(f"{model.path.name}: expected a model for sound, found one for video alone; make video only")
    audio_frames = audio_latent_frames(frames, frame_rate)
    if audio_frames < 1:
        raise ValueError(f"frames: {frames} at {frame_rate:g} a second are too short for sound; use more frames")
    return model.audio_channels, audio_frames, AUDIO_BINS


def _snapped_side(name: str, asked: int, divisor: int) -> int:
    """Pixels of this stage: the final side, snapped so that every stage's grid fits, divided."""
    multiple = SCALE.space * divisor
    return _snapped(name, asked, nearest_size(asked, multiple=multiple), f"a multiple of {multiple}") // divisor


def _snapped(name: str, asked: int, nearest: int, grid: str) -> int:
    if asked != nearest:
        warn_user(f"{name} {asked} is not {grid}: {nearest} is used")
    return nearest


def joined(pair: Streams[Tensor]) -> Any:
    """The `samples` of a LATENT: the pair nested, or the one stream that is there."""
    present = pair.present()
    return present[0] if len(present) == 1 else NestedTensor(present)


def members(latent: Latent) -> Streams[Tensor]:
    """Video (B, C, F, H, W) and audio (B, C, T, bins) of a LATENT, None where absent; ValueError for something else."""
    samples = latent["samples"]
    found = list(samples.unbind()) if getattr(samples, "is_nested", False) else [samples]
    video = found.pop(0) if found and found[0].ndim == 5 else None
    audio = found.pop(0) if found and found[0].ndim == 4 and found[0].shape[-1] == AUDIO_BINS else None
    if found or (video is None and audio is None):
        shapes = " and ".join(str(tuple(member.shape)) for member in found)
        raise ValueError(
            f"latent: expected a video (B, C, F, H, W) and an audio latent (B, C, T, {AUDIO_BINS}), found {shapes}; "
            "start from Empty AV Latent (LTX)"
        )
    return Streams(video=video, audio=audio)


def video_of(latent: Latent) -> Tensor:
    """The video latent; ValueError where there is none."""
    video = members(latent).video
    if video is None:
        raise ValueError("latent: expected a video latent, found sound alone")
    return video


def audio_of(latent: Latent) -> Tensor:
    """The audio latent; ValueError where there is none."""
    audio = members(latent).audio
    if audio is None:
        raise ValueError("latent: expected an audio latent, found video alone")
    return audio


def frame_rate_of(latent: Latent) -> float:
    """Frames a second of a LATENT; ValueError when it carries none."""
    rate = latent.get(FRAME_RATE)
    if rate is None:
        raise ValueError("latent: it carries no frame rate; start from Empty AV Latent (LTX)")
    return float(rate)


def refuse_other_duration(frames: int, found: int, rate: float) -> None:
    """ValueError where `found` latent frames of sound do not last as long as `frames` pictures, give or take one."""
    expected = audio_latent_frames(frames, rate)
    if abs(found - expected) > 1:  # rates that are doubled and halved round differently
        raise ValueError(
            f"audio: expected a latent of {expected} frames ({expected / 25:.2f} s) beside {frames} pictures at "
            f"{rate:g} a second, found {found} ({found / 25:.2f} s); let Encode Audio (LTX) fit it to the video"
        )


def masks_of(latent: Latent) -> Streams[Tensor]:
    """ComfyUI's `noise_mask` (b, 1, F, H, W) and (b, 1, T, bins), of any size, 1: generate. Plain: the first's."""
    found = latent.get("noise_mask")
    if found is None:
        return Streams()
    masks = iter(found.unbind() if getattr(found, "is_nested", False) else [found])

    def own(member: Tensor) -> Tensor | None:
        mask: Tensor | None = next(masks, None)
        if mask is None or mask.ndim == member.ndim:
            return None if mask is None else mask[:, :1].float()
        frames = (1, 1, -1) if member.ndim == 5 else (-1, 1)
        return mask.reshape(*frames, *mask.shape[-2:]).float()

    return members(latent).map(own)


def keyframes_of(latent: Latent) -> tuple[int, ...]:
    """Pixel frames of generated keyframes; ValueError for another latent."""
    frames = latent.get(KEYFRAMES)
    if frames is None:
        raise ValueError("keyframes: expected the keyframes of a stage with slots, found another latent; connect those")
    return tuple(int(frame) for frame in frames)


def layout_of(latent: Latent) -> VideoLayout:
    """Grid and frame rate of the video in a LATENT."""
    return VideoLayout(grid=VideoGrid(*video_of(latent).shape[2:]), fps=frame_rate_of(latent))


def pixel_size(latent: Latent) -> tuple[int, int]:
    """Height and width in pixels of the video in a LATENT."""
    height, width = video_of(latent).shape[3:]
    return height * SCALE.space, width * SCALE.space


def items_of(latent: Latent) -> Streams[Items]:
    """The conditioning items that nodes have added, a list a stream."""
    return Streams(video=latent.get(VIDEO_ITEMS, ()), audio=latent.get(AUDIO_ITEMS, ()))


def with_items(latent: Latent, items: Streams[Sequence[ConditioningItem]]) -> Latent:
    """The LATENT with these conditioning items and no others."""
    given = {VIDEO_ITEMS: items.video, AUDIO_ITEMS: items.audio}
    return without_items(latent) | {name: tuple(own) for name, own in given.items() if own}


def without_items(latent: Latent) -> Latent:
    """The LATENT without conditioning items: they are used up, or belong to another one."""
    return {name: entry for name, entry in latent.items() if name not in (VIDEO_ITEMS, AUDIO_ITEMS)}


def with_video_item(latent: Latent, item: ConditioningItem) -> Latent:
    """The LATENT with one more item for its video; ValueError where it contradicts the others."""
    items = items_of(latent)
    video = (*(items.video or ()), item)
    check_items(video, layout_of(latent), slots_supported=True)  # the sampler knows the model
    return with_items(latent, Streams(video=video, audio=items.audio))


def with_audio_item(latent: Latent, item: ConditioningItem) -> Latent:
    """The LATENT with one more item for its sound; ValueError where it contradicts the others."""
    items = items_of(latent)
    audio = (*(items.audio or ()), item)
    check_items(audio, AudioLayout(tokens=audio_of(latent).shape[2], channels=audio_of(latent).shape[1]))
    return with_items(latent, Streams(video=items.video, audio=audio))
