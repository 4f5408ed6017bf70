"""Masks and blend curves of ComfyUI's LTX node pack (spec pipelines.md sections 15 and 18)."""

# n pixel frames, h w pixels, F latent frames
from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from einops import rearrange, reduce
from torch import Tensor

from ..shapes import SCALE, AudioRate, ScaleFactors
from ..streams import Streams

GREEN = (102 / 255, 1.0, 0.0)  # what the in- and outpainting LoRA reads as "paint here"


def grow_mask(mask: Tensor, radius: int, frames: int) -> Tensor:
    """A mask (n, h, w), largest over ± radius pixels (a square), then over ± frames, then above 0.5: 0 or 1."""
    grown = F.max_pool2d(mask[:, None].float(), 2 * radius + 1, stride=1, padding=radius)[:, 0]
    n, h, _ = grown.shape
    rows = rearrange(grown, "n h w -> (h w) 1 n")
    rows = F.max_pool1d(rows, 2 * frames + 1, stride=1, padding=frames)
    return (rearrange(rows, "(h w) 1 n -> n h w", n=n, h=h) > 0.5).float()


def inpaint_clip(images: Tensor, mask: Tensor, colour: tuple[float, float, float] = GREEN) -> Tensor:
    """The control clip (n, h, w, 3) of the inpainting LoRA: the source outside the mask, `colour` inside.

    images (n, h, w, 3) and mask (n, h, w), both 0 … 1; of one frame: repeated; else the shorter one decides.
    """
    if images.shape[1:3] != mask.shape[1:3]:
        raise ValueError(
            f"mask: expected {images.shape[2]}x{images.shape[1]} pixels like the clip, found "
            f"{mask.shape[2]}x{mask.shape[1]}; resize it"
        )
    if len(mask) == 1:
        mask = mask.expand(len(images), -1, -1)
    n = min(len(images), len(mask))
    inside = rearrange(mask[:n].to(images), "n h w -> n h w 1")
    return images[:n, ..., :3] * (1 - inside) + images.new_tensor(colour) * inside


def latent_mask_frames(
    mask: Tensor,
    reduction: Literal["max", "mean", "min"],
    *,
    limits: tuple[float, float] = (0.0, 1.0),
    ignore_first: bool = False,
    scale: ScaleFactors = SCALE,
) -> Tensor:
    """A pixel mask (n, h, w) as one frame a latent frame, (F, h, w): frame 0 alone, then groups of 8.

    limits: the result is clamped to them. ignore_first: latent frame 0 becomes 0 after that. ValueError unless n is
    8k+1.
    """
    if len(mask) % scale.time != 1:
        raise ValueError(f"mask: expected 8k+1 frames, found {len(mask)}; cut it to the clip")
    later = reduce(mask[1:], "(f t) h w -> f h w", reduction, t=scale.time)
    frames = torch.cat([mask[:1], later]).clamp(*limits)
    return torch.cat([torch.zeros_like(frames[:1]), frames[1:]]) if ignore_first else frames


def time_mask(
    start: float,
    end: float,
    lengths: Streams[int],
    fps: float,
    *,
    outside: float = 0.0,
    scale: ScaleFactors = SCALE,
    rate: AudioRate | None = None,
) -> Streams[Tensor]:
    """1 on the latent frames of both streams between two times in seconds, (F,) and (T,); `outside` elsewhere.

    The node pack's retake. It takes fewer frames than `TemporalRegions`, which takes every token that touches them.
    lengths: latent frames of the streams.
    """
    if not 0 <= start < end:
        raise ValueError(f"retake: expected 0 <= start < end, found {start:g} and {end:g} s")
    latents_per_second = (rate or AudioRate()).latents_per_second

    def ones(length: int, inside: range) -> Tensor:
        mask = torch.full((length,), outside)
        mask[inside.start : inside.stop] = 1.0
        return mask

    def video(length: int) -> Tensor:
        starts = [0, *range(1, (length - 1) * scale.time + 1, scale.time)]
        first = next((i for i, pixel in enumerate(starts) if pixel >= round(start * fps)), length)
        last = max((i for i, pixel in enumerate(starts) if pixel <= round(end * fps)), default=0)
        return ones(length, range(first, last))

    def audio(length: int) -> Tensor:
        return ones(length, range(round(start * latents_per_second), round(end * latents_per_second) + 1))

    return Streams(
        video=None if lengths.video is None else video(lengths.video),
        audio=None if lengths.audio is None else audio(lengths.audio),
    )


def blend_curve(start: int, end: int, count: int, slope: int) -> Tensor:
    """Weights (count,) of latent frames: 1 from `start` to `end`, both inside, and linear slopes of `slope` frames."""
    if slope < 1:
        raise ValueError(f"slope: expected at least 1 frame, found {slope}")
    index = torch.arange(count)
    rising, falling = 1 - (start - 1 - index) / slope, 1 - (index - end) / slope
    return torch.minimum(rising, falling).clamp(0, 1)


def curve_in_pixels(curve: Tensor, *, scale: ScaleFactors = SCALE) -> Tensor:
    """A curve over latent frames (F,) as one over pixel frames: linear between frames 0, 1, 9, 17, …, then constant."""
    steps = curve[1:-1, None] + (curve[2:] - curve[1:-1])[:, None] * (torch.arange(scale.time) / scale.time)
    return torch.cat([curve[:1], steps.flatten(), curve[-1:].expand(scale.time if len(curve) > 1 else 0)])
