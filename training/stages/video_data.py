"""Generated pictures for the stages of the video VAE."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from ..linear_codec import LinearCodec
from ..world import Scene, sample_scene
from ..world.picture import draw_frames

SIDE = 128  # of a whole picture
CLIP_FRAMES = 49
AIMED = 0.8  # share of the crops that show the object
HELD_OUT_SEED = 10**6
HARD_SEED = 10**7  # between the draws of a hard scene


@dataclass(frozen=True, kw_only=True)
class Cut:
    """What a batch shows: `batch` windows of frames x side x side out of whole clips."""

    batch: int
    frames: int
    side: int


# In turn. A network that only sees clips of two latent frames knows their ends alone, and falls apart on longer ones.
CROPS = (Cut(batch=4, frames=9, side=64), Cut(batch=2, frames=25, side=64), Cut(batch=1, frames=17, side=SIDE))
WHOLE = (Cut(batch=1, frames=25, side=SIDE),)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which cuts a stage trains on: crops, and whole pictures from `turn` (share of the stage) on."""

    crops: tuple[Cut, ...] = CROPS
    whole: tuple[Cut, ...] = WHOLE
    turn: float = 0.8

    def cut(self, step: int, progress: float) -> Cut:
        cuts = self.whole if progress > self.turn else self.crops
        return cuts[step % len(cuts)]


PLAN = Plan()


def videos(step: int, cut: Cut, scene: Callable[[int], Scene] = sample_scene) -> Tensor:
    """(B, 3, T, side, side) in -1..1: the batch of a step. scene: of a seed."""
    return torch.stack([_window(step * cut.batch + index, cut, scene) for index in range(cut.batch)])


def hard_scene(seed: int) -> Scene:
    """A scene of which more than usual show small objects with corners, the last thing that a codec learns."""
    draws = (sample_scene(seed + again * HARD_SEED) for again in range(4))
    scenes = [scene for scene in draws if scene.size == "small" and scene.shape != "ball"]
    return scenes[0] if scenes and seed % 3 else sample_scene(seed)


def whole_clips(count: int, *, frames: int = 25) -> Tensor:
    """(count, 3, frames, 128, 128): clips of held-out combinations."""
    scenes = [sample_scene(HELD_OUT_SEED + index, held_out=True) for index in range(count)]
    drawn = [draw_frames(scene, frames=frames, height=SIDE, width=SIDE) for scene in scenes]
    return rearrange(torch.from_numpy(np.stack(drawn)) * 2 - 1, "b t h w c -> b c t h w")


def psnr(video: Tensor, target: Tensor) -> float:
    """Mean over the clips of the peak signal-to-noise ratio in dB; both (B, 3, T, H, W) in -1..1."""
    error = (video.clamp(-1, 1) - target).square().mean(dim=(1, 2, 3, 4)) / 4
    return float((-10 * error.log10()).mean())


def _window(seed: int, cut: Cut, draw: Callable[[int], Scene]) -> Tensor:
    scene, generator = draw(seed), np.random.default_rng([seed, 11])
    first = int(generator.integers(0, CLIP_FRAMES - cut.frames + 1))
    frames = draw_frames(scene, frames=cut.frames, height=SIDE, width=SIDE, first=first)
    x, y = _corner(scene, generator, cut, first)
    part = torch.from_numpy(frames[:, y : y + cut.side, x : x + cut.side])
    return rearrange(part * 2 - 1, "t h w c -> c t h w")


def _corner(scene: Scene, generator: np.random.Generator, cut: Cut, first: int) -> tuple[int, int]:
    """Anywhere along the floor, but in whole cells of height: the floor lies in one row of cells."""
    room = SIDE - cut.side
    x, row = int(generator.integers(0, room + 1)), int(generator.integers(0, room // 32 + 1))
    if room and generator.random() < AIMED:
        middle = (first + int(generator.integers(0, cut.frames))) / 24
        centre = scene.centres(np.array([middle]))[0, 0] * SIDE
        x = int(np.clip(centre[0] - cut.side / 2 + generator.integers(-24, 25), 0, room))
        row = int(np.clip(round((centre[1] - cut.side / 2) / 32), 0, room // 32))
    return x, 32 * row


def linear_psnr(codec: LinearCodec, clips: Tensor) -> float:
    """What the linear codec reaches: the floor for every trained VAE."""
    return psnr(codec.decode(codec.encode(clips)), clips)
