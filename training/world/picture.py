"""Drawing a scene at any size and frame rate: anti-aliased signed distances on a floor."""

from __future__ import annotations

import numpy as np

from .scene import FLOOR, Scene

Image = np.ndarray  # float32 (H, W, 3) in 0..1

PALETTE = {
    "red": (0.87, 0.14, 0.12),
    "green": (0.14, 0.68, 0.20),
    "blue": (0.15, 0.28, 0.90),
    "yellow": (0.92, 0.80, 0.10),
}
BEYOND = {"orange": (0.92, 0.45, 0.1)}  # what no clip of the world shows: for what a LoRA learns anew
WALL = {"grey": 0.52, "white": 0.93, "black": 0.07}
FLOOR_LEVEL = {"grey": 0.38, "white": 0.74, "black": 0.15}
TILE = 0.4  # distance of the seams that show a pan
SHADE = 0.22  # brightness from the lit corner of an object to its far one


def draw_frames(scene: Scene, *, frames: int, height: int, width: int, fps: float = 24.0, first: int = 0) -> np.ndarray:
    """float32 (frames, height, width, 3) in 0..1, from frame number `first` on."""
    times = (first + np.arange(frames)) / fps
    video = np.empty((frames, height, width, 3), dtype=np.float32)
    wall = _wall(scene, height, width)
    centres, visible = scene.centres(times), scene.visible(times)
    for index in range(frames):
        video[index] = wall[..., None]
        if scene.pan != "still":
            _draw_seams(video[index], scene, float(times[index]))
        if visible[index]:
            for centre in centres[index]:
                _draw_object(video[index], scene, centre)
    return video


def _wall(scene: Scene, height: int, width: int) -> np.ndarray:
    """Wall above, floor below, a faint gradient over both: (height, width)."""
    y = (np.arange(height, dtype=np.float32) + 0.5) / height
    edge = np.clip((y - FLOOR) * height + 0.5, 0, 1)
    level = WALL[scene.background] * (1 - edge) + FLOOR_LEVEL[scene.background] * edge
    return np.repeat((level + 0.04 * (0.5 - y)).astype(np.float32)[:, None], width, axis=1)


def _draw_seams(image: Image, scene: Scene, time: float) -> None:
    height, width, _ = image.shape
    x = (np.arange(width, dtype=np.float32) + 0.5) / height - scene.pan_speed * time
    distance = np.abs(np.mod(x + TILE / 2, TILE) - TILE / 2) * height
    dark = 0.25 * np.clip(1.5 - distance, 0, 1)
    image[round(FLOOR * height) :] *= (1 - dark)[None, :, None]


def _draw_object(image: Image, scene: Scene, centre: np.ndarray) -> None:
    height, width, _ = image.shape
    reach = scene.radius * 1.05 + 2 / height
    rows = _span(centre[1], reach, height, height)
    columns = _span(centre[0], reach, height, width)
    y = (np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + 0.5) / height - np.float32(centre[1])
    x = (np.arange(columns.start, columns.stop, dtype=np.float32)[None, :] + 0.5) / height - np.float32(centre[0])
    cover = np.clip(0.5 - _distance(scene, x, y) * height, 0, 1)[..., None]
    light = 1 - SHADE * (x + y)[..., None] / (2 * scene.radius)
    colour = np.array((PALETTE | BEYOND)[scene.colour], dtype=np.float32) * light
    patch = image[rows, columns]
    patch += cover * (np.clip(colour, 0, 1) - patch)


def _span(centre: float, reach: float, scale: int, end: int) -> slice:
    first = int(np.clip(np.floor((centre - reach) * scale), 0, end))
    return slice(first, int(np.clip(np.ceil((centre + reach) * scale), first, end)))


def _distance(scene: Scene, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distance to the outline, negative inside; every shape stands on the same line, radius below the centre."""
    radius = scene.radius
    if scene.shape == "ball":
        ball: np.ndarray = np.sqrt(x * x + y * y) - radius
        return ball
    if scene.shape == "box":
        half = 0.9 * radius
        box: np.ndarray = np.maximum(np.abs(x) - half, np.abs(y - (radius - half)) - half)
        return box
    slope = np.array([2.0, 1.0]) / np.sqrt(5.0)  # a triangle as high as it is wide
    sides = np.abs(x) * slope[0] - (y + radius) * slope[1]
    triangle: np.ndarray = np.maximum(sides, y - radius)  # apex at the top, base below
    return triangle
