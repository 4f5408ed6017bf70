"""Reads a decoded clip of the small world: what is seen and heard, by thresholds (spec page embedded_model, section 8).

Perfect on ground truth is the condition under which its figures mean anything; report it beside them.
"""

# T frames, H height, W width, M mel frames, F mel bins
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from .world.picture import PALETTE
from .world.scene import Scene

Palette = Mapping[str, tuple[float, float, float]]  # red, green, blue in 0..1
MEL_RATE = 100.0  # frames a second
SATURATED = 0.25  # max - min of the colours of an object's pixel; walls and floors are grey
SHOWN = 0.3  # share of the largest area from which an object counts as visible
NARROWEST = 0.04  # heights; smaller patches are noise
LARGE = 0.245  # bounding box of one object, heights
BOX, BALL = 0.9, 0.65  # area by bounding box
BLINKING, RISES, SLIDES = 0.85, 0.12, 0.07  # share of frames; heights; heights a second
GREY, WHITE = 0.3, 0.75
HIGH_BAND, GLIDE_BANDS = 9, 4
LOUD, ONSET, AUDIBLE = 2.3, 0.7, -8.0  # nats below the maximum; nats of rise; nats of the loudest band
DEAD_TIME = 0.14  # seconds between two onsets
LEAD = 0.025  # seconds by which the steepest rise precedes an onset: half an analysis window sees it before
ATTRIBUTES = ("colour", "shape", "size", "count", "motion", "background", "pitch")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the judge saw and heard; "none" where there was nothing. Events in seconds."""

    colour: str
    shape: str
    size: str
    count: int
    motion: str
    background: str
    pitch: str
    video_events: tuple[float, ...]
    audio_events: tuple[float, ...]
    silent: bool


def judge(frames: Tensor, mel: Tensor, fps: float = 24.0, *, palette: Palette = PALETTE) -> Verdict:
    """frames (T, H, W, 3) in 0..1; mel (2, M, F), natural logarithm, 100 frames a second. palette: colours by name."""
    mask = frames.amax(dim=-1) - frames.amin(dim=-1) > SATURATED  # T H W
    area = mask.sum(dim=(1, 2)).float()
    shown = area > max(SHOWN * float(area.max()), (NARROWEST * mask.shape[1]) ** 2)  # T
    motion, events = _motion(mask, shown, fps)
    objects = [found for index in torch.nonzero(shown)[:, 0].tolist() for found in [_objects(mask[index])] if found]
    return Verdict(
        colour=_colour(frames, mask & shown[:, None, None], palette),
        shape=_shape([item for found in objects for item in found]),
        size=_size([item for found in objects for item in found]),
        count=int(torch.tensor([len(found) for found in objects]).median()) if objects else 0,
        motion=motion,
        background=_background(frames),
        pitch=_pitch(mel),
        video_events=events,
        audio_events=audio_events(mel),
        silent=float(mel.amax()) < AUDIBLE,
    )


def right(verdict: Verdict, scene: Scene) -> dict[str, bool]:
    """For each attribute, whether the judge saw what the scene is."""
    return {name: getattr(verdict, name) == getattr(scene, name) for name in ATTRIBUTES}


def onset_errors(seen: Sequence[float], heard: Sequence[float], duration: float) -> list[float]:
    """Distance (s) of each seen event to the nearest heard one, without those at the clip's edges; inf: none."""
    inner = [event for event in seen if 0.04 < event < duration - 0.09]
    return [min((abs(event - other) for other in heard), default=float("inf")) for event in inner]


def audio_events(mel: Tensor) -> tuple[float, ...]:
    """Onsets (s): where the level rises steeply to near its maximum."""
    level = mel.exp().mean(dim=0).sum(dim=-1).log()  # M
    rise = level[2:] - level[:-2]
    events: list[float] = []
    index = 0
    while index < len(rise):
        if rise[index] > ONSET:
            near = rise[index : index + 8]
            steepest = index + int(near.argmax())
            if level[steepest : steepest + 8].amax() > level.amax() - LOUD:
                events.append((steepest + 1) / MEL_RATE + LEAD)
                index = steepest + int(DEAD_TIME * MEL_RATE)
        index += 1
    return tuple(events)


def _motion(mask: Tensor, shown: Tensor, fps: float) -> tuple[str, tuple[float, ...]]:
    if not bool(shown.any()):
        return "none", ()
    height, times = mask.shape[1], torch.nonzero(shown)[:, 0]
    if float(shown.float().mean()) < BLINKING:
        starts = [index for index, (before, now) in enumerate(pairwise(shown.tolist()), start=1) if now and not before]
        return "blinks", tuple((index - 0.5) / fps for index in starts)
    centres = torch.stack([torch.nonzero(mask[index]).float().mean(dim=0) for index in times]) / height  # y, x
    y, seconds = centres[:, 0], times / fps
    if float(y.amax() - y.amin()) > RISES:
        return "bounces", _contacts(y, seconds, fps)
    seconds = seconds - seconds.mean()
    slope = float((seconds * (centres[:, 1] - centres[:, 1].mean())).sum() / seconds.square().sum())
    if abs(slope) < SLIDES:
        return "still", ()
    return ("slides right" if slope > 0 else "slides left"), ()


def _contacts(y: Tensor, seconds: Tensor, fps: float) -> tuple[float, ...]:
    """Where the centre turns at the bottom: the two straight lines into and out of it meet there."""
    lowest = float(y.amax()) - float(y.amax() - y.amin()) / 3
    events = []
    for index in range(1, len(y) - 1):
        if y[index] < lowest or y[index] < y[index - 1] or y[index] <= y[index + 1]:
            continue
        bend = float(2 * y[index] - y[index - 1] - y[index + 1])
        shift = 0.5 * float(y[index + 1] - y[index - 1]) / bend if bend > 0 else 0.0
        events.append(float(seconds[index]) + shift / fps)
    return tuple(events)


@dataclass(frozen=True, kw_only=True)
class _Box:
    width: float  # heights of the picture
    fill: float


def _objects(mask: Tensor) -> list[_Box]:
    """Objects of one frame (H, W), told apart by empty columns between them."""
    height = mask.shape[0]
    columns = torch.nonzero(mask.any(dim=0))[:, 0].tolist()
    runs: list[list[int]] = []
    for column in columns:
        if runs and column - runs[-1][-1] <= 2:
            runs[-1].append(column)
        else:
            runs.append([column])
    boxes = []
    for run in runs:
        part = mask[:, run[0] : run[-1] + 1]
        rows = int(part.any(dim=1).sum())
        if min(len(run), rows) >= NARROWEST * height:
            boxes.append(_Box(width=len(run) / height, fill=float(part.sum()) / (rows * len(run))))
    return boxes


def _shape(objects: Sequence[_Box]) -> str:
    if not objects:
        return "none"
    fill = float(torch.tensor([item.fill for item in objects]).median())
    return "box" if fill > BOX else "ball" if fill > BALL else "triangle"


def _size(objects: Sequence[_Box]) -> str:
    if not objects:
        return "none"
    return "large" if float(torch.tensor([item.width for item in objects]).median()) > LARGE else "small"


def _colour(frames: Tensor, mask: Tensor, palette: Palette) -> str:
    if not bool(mask.any()):
        return "none"
    found = frames[mask].mean(dim=0)
    prototypes = torch.tensor(list(palette.values()))
    distance = (found / found.sum() - prototypes / prototypes.sum(dim=-1, keepdim=True)).norm(dim=-1)
    return list(palette)[int(distance.argmin())]


def _background(frames: Tensor) -> str:
    level = float(frames[:, : max(1, frames.shape[1] // 10)].median())
    return "white" if level > WHITE else "grey" if level > GREY else "black"


def _pitch(mel: Tensor) -> str:
    power = mel.exp().mean(dim=0)  # M F
    level = power.sum(dim=-1)
    loud = power[level > 0.25 * level.amax()]
    third = max(1, len(loud) // 3)
    first, last = (int(part.mean(dim=0).argmax()) for part in (loud[:third], loud[-third:]))
    if abs(last - first) >= GLIDE_BANDS:
        return "rising" if last > first else "falling"
    return "low" if int(loud.mean(dim=0).argmax()) < HIGH_BAND else "high"
