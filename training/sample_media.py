"""Draws the small media that the bundled workflows load: `python -m openltx.training.sample_media`.

A red ball bounces on a grey floor and knocks at each contact; a mask with a hole where the ball is.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..media.av_writer import write_audio, write_av

FOLDER = Path(__file__).resolve().parents[1] / "workflows" / "input"
SIZE, FRAMES, FPS, RATE = 128, 33, 24, 16000
PERIOD = 0.5  # seconds from one contact to the next
FLOOR, RADIUS = 0.8, 0.12


def frame(seconds: float) -> Tensor:
    """(SIZE, SIZE, 3) in 0 … 1: the picture at this time."""
    phase = (seconds % PERIOD) / PERIOD
    height = FLOOR - RADIUS - 0.45 * 4 * phase * (1 - phase)
    grid = (torch.arange(SIZE) + 0.5) / SIZE
    y, x = torch.meshgrid(grid, grid, indexing="ij")
    picture = torch.where(y[..., None] > FLOOR, torch.tensor([0.45, 0.45, 0.45]), torch.tensor([0.75, 0.85, 0.95]))
    ball = ((x - 0.3 - 0.3 * seconds) ** 2 + (y - height) ** 2).sqrt() < RADIUS
    return torch.where(ball[..., None], torch.tensor([0.85, 0.1, 0.1]), picture)


def sound(seconds: float) -> Tensor:
    """(2, samples) in -1 … 1: a decaying knock at each contact."""
    time = torch.arange(round(seconds * RATE)) / RATE
    since = time % PERIOD
    knock = 0.5 * torch.sin(2 * math.pi * 180 * since) * torch.exp(-since * 25)
    return knock.expand(2, -1)


def mask() -> Image.Image:
    """Transparent (to be generated) in its left half, as drawn with ComfyUI's mask editor."""
    alpha = np.full((SIZE, SIZE), 255, dtype=np.uint8)
    alpha[:, : SIZE // 2] = 0
    grey = np.full((SIZE, SIZE, 3), 128, dtype=np.uint8)
    return Image.fromarray(np.dstack([grey, alpha]))


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    frames = torch.stack([frame(index / FPS) for index in range(FRAMES)])
    write_av(FOLDER / "ball.mp4", [frames], frame_rate=FPS, waveform=sound(FRAMES / FPS), sample_rate=RATE)
    write_audio(FOLDER / "knocks.wav", sound(FRAMES / FPS), sample_rate=RATE)
    for name, index in (("ball_first.png", 0), ("ball_last.png", FRAMES - 1)):
        Image.fromarray((frames[index] * 255).round().byte().numpy()).save(FOLDER / name)
    mask().save(FOLDER / "left_half.png")


if __name__ == "__main__":
    main()
