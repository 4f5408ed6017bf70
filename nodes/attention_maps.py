"""Where a model looks: the attention of one layer at one step, as pictures and as numbers to keep."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from einops import rearrange, repeat
from torch import Tensor

from ..model_loaders.parts import DiffusionModel
from ..networks.transformer.watch import LAYERS, AttentionName, Looked, Watch
from ..samplers.shapes import SCALE
from .host.api import io
from .latents import Latent, video_of

AttentionType = io.Custom("OPENLTX_ATTENTION")
HALF = SCALE.time // 2
HEAT = torch.tensor([[0.0, 0.0, 0.0], [0.7, 0.0, 0.1], [1.0, 0.6, 0.0], [1.0, 1.0, 0.8]])  # of 0, 1/3, 2/3, 1


@dataclass(frozen=True, kw_only=True, eq=False)
class AttentionMap:
    """Strengths (B, F, H, W) float32, a number a cell of the video latent; told: which ones, as words and numbers."""

    values: Tensor = field(repr=False)
    told: dict[str, Any]


class RecordAttention(io.ComfyNode):
    """A model that shows one of its attentions when it samples."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXRecordAttention",
            display_name="Record Attention (LTX)",
            category="OpenLTX/sampling",
            description="Marks a model: when it samples, the strengths of one attention are kept for Attention Map "
            "(LTX). The result of sampling stays the same, bit for bit.",
            inputs=[
                io.Model.Input("model", tooltip="From a loader, with its LoRAs."),
                io.Int.Input("block", default=0, min=0, max=127, tooltip="Block of the transformer, from 0."),
                io.Combo.Input(
                    "attention",
                    options=list(LAYERS),
                    default="text",
                    tooltip="text: how much each place reads of the tokens; picture: where the tokens look; sound to "
                    "picture: how much each place hears of them; picture to sound: where they look.",
                ),
                io.String.Input(
                    "tokens",
                    default="1-3",
                    tooltip="Numbers from 0, ranges with a dash, commas: of the text; of the sound, 25 a second; or of "
                    "the picture, cell by cell, row by row, frame by frame.",
                ),
                io.Int.Input(
                    "step", default=0, min=-1000, max=999, tooltip="Step of the schedule, from 0; -1: the last one."
                ),
                io.Int.Input("head", default=-1, min=-1, max=127, tooltip="One head, from 0; -1: the mean of all."),
            ],
            outputs=[
                io.Model.Output("model", tooltip="For a guider or sampler of OpenLTX or ComfyUI."),
                AttentionType.Output("attention", tooltip="For Attention Map (LTX), beside the sampled latent."),
            ],
        )

    @classmethod
    def execute(
        cls, model: DiffusionModel, block: int, attention: AttentionName, tokens: str, step: int, head: int
    ) -> io.NodeOutput:
        if model.config.video is None:
            raise ValueError("attention: expected a model with video, found one for sound alone")
        looked = Looked(name=attention, block=block, tokens=numbers(tokens), head=None if head < 0 else head)
        watch = Watch(looked, step)
        watch.check(model.config)
        return io.NodeOutput(replace(model, watch=watch), watch)


class ShowAttention(io.ComfyNode):
    """Recorded strengths as pictures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="OpenLTXAttentionMap",
            display_name="Attention Map (LTX)",
            category="OpenLTX/decode",
            description="What Record Attention (LTX) kept, a picture a latent frame: black is none, yellow the most.",
            inputs=[
                AttentionType.Input("attention", tooltip="From Record Attention (LTX) or Load Intermediates (LTX)."),
                io.Latent.Input("latent", optional=True, tooltip="What was sampled with it; not needed once loaded."),
                io.Image.Input("images", optional=True, tooltip="The decoded clip, to lay the map over."),
                io.Float.Input(
                    "opacity", default=0.6, min=0.0, max=1.0, step=0.01, tooltip="Of the map over the images, 0 to 1."
                ),
            ],
            outputs=[
                io.Image.Output("images", tooltip="One a latent frame; of several samples the first."),
                io.Mask.Output("mask", tooltip="The same as one value a pixel, 0 to 1 of the largest."),
                AttentionType.Output("attention", tooltip="The numbers, for Save Intermediates (LTX)."),
            ],
        )

    @classmethod
    def execute(
        cls,
        attention: Watch | AttentionMap,
        opacity: float,
        latent: Latent | None = None,
        images: Tensor | None = None,
    ) -> io.NodeOutput:
        found = attention if isinstance(attention, AttentionMap) else recorded(attention, latent)
        frames = len(found.values[0])
        size = (
            (found.values.shape[2] * SCALE.space, found.values.shape[3] * SCALE.space)
            if images is None
            else images.shape[1:3]
        )
        highest = found.values[:1].max().clamp(min=torch.finfo(torch.float32).tiny)
        mode = "nearest" if images is None else "bilinear"
        mask = F.interpolate(found.values[:1] / highest, size=tuple(size), mode=mode)[0]
        heat = heat_colours(mask)
        if images is not None:
            heat = torch.lerp(images[pixel_frames_shown(frames, len(images))][..., :3].float(), heat, opacity)
        return io.NodeOutput(heat, mask, found)


def recorded(watch: Watch, latent: Latent | None) -> AttentionMap:
    """Of the last run, on the grid of its latent. ValueError where none has run, or another latent is there."""
    if latent is None:
        raise ValueError("latent: expected the latent that was sampled, found none; connect the sampler's output")
    if watch.seen is None:
        raise ValueError(
            "attention: expected a run of the marked model, found none; sample with the model of Record Attention (LTX)"
        )
    frames, height, width = video_of(latent).shape[2:]
    cells = frames * height * width
    if watch.seen.shape[1] < cells:
        raise ValueError(
            f"latent: expected the one that was sampled, of at most {watch.seen.shape[1]} cells, found {cells}; "
            "connect the sampler's output"
        )
    grid = watch.seen[:, :cells]
    looked = watch.looked
    told: dict[str, Any] = {
        "attention": looked.name,
        "block": looked.block,
        "head": -1 if looked.head is None else looked.head,
    }
    told |= {"tokens": ",".join(map(str, looked.tokens)), "step": watch.step}
    return AttentionMap(values=rearrange(grid, "b (f h w) -> b f h w", h=height, w=width), told=told)


def numbers(text: str) -> tuple[int, ...]:
    """'0-2, 7' → 0, 1, 2, 7. ValueError for something else."""
    found: list[int] = []
    for word in text.replace(",", " ").split():
        first, dash, last = word.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"tokens: expected numbers and ranges such as '0-2, 7', found {text!r}")
        found += range(int(first), int(last if dash else first) + 1)
    if not found:
        raise ValueError(f"tokens: expected at least one number, found {text!r}")
    return tuple(sorted(set(found)))


def heat_colours(values: Tensor) -> Tensor:
    """(F, H, W) from 0 to 1 → colours (F, H, W, 3)."""
    place = values.clamp(0, 1) * (len(HEAT) - 1)
    low = place.floor().clamp(max=len(HEAT) - 2)
    share = repeat(place - low, "f h w -> f h w c", c=3)
    table = HEAT.to(values)
    return torch.lerp(table[low.long()], table[low.long() + 1], share)


def pixel_frames_shown(latent_frames: int, pictures: int) -> list[int]:
    """The picture in the middle of each latent frame's: 0, then 4, 12, … of a clip. ValueError for a shorter one."""
    shown = [0 if frame == 0 else (frame - 1) * SCALE.time + HALF for frame in range(latent_frames)]
    if shown[-1] >= pictures:
        raise ValueError(
            f"images: expected the decoded clip of {latent_frames} latent frames, found {pictures} pictures; connect "
            "Decode Video (LTX)"
        )
    return shown
