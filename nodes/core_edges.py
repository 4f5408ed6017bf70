"""A standalone copy of core's edge detector; see nodes/core.py. Method: J. Canny, PAMI 8 (1986) 679."""

# b pictures, h w rows, columns, c colours
from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import repeat
from torch import Tensor

from .host.api import io

LUMA = (0.299, 0.587, 0.114)
SMOOTH = (-2.0, -1.0, 0.0, 1.0, 2.0)  # places of the Gaussian's five weights, in its own widths
SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))
STEPS = ((0, 1), (1, 1), (1, 0), (1, -1))  # rows, columns: to the next pixel at 0, 45, 90 and 135 degrees
TINY = 1e-6


def edges(images: Tensor, low: float, high: float) -> Tensor:
    """Edges (b, h, w), 0 or 1, of pictures (b, h, w, 3) in 0 … 1.

    low, high: sums of the Sobel kernel above which one is an edge beside another edge, and by itself.
    """
    slope, turn = _slopes(_smooth(images[..., :3] @ images.new_tensor(LUMA)))
    slope = slope * _is_ridge(slope, turn)
    strong, weak = slope > high, slope > low
    while True:  # weak ones that touch a strong one, step by step
        grown = F.max_pool2d(strong[:, None].float(), 3, stride=1, padding=1)[:, 0].bool() & weak
        if torch.equal(grown | strong, strong):
            return strong.float()
        strong = grown | strong


def _smooth(light: Tensor) -> Tensor:
    weights = torch.exp(-0.5 * light.new_tensor(SMOOTH).square())
    weights = weights / weights.sum()
    padded = F.pad(light[:, None], (2, 2, 2, 2), mode="reflect")
    return F.conv2d(F.conv2d(padded, weights.view(1, 1, 1, 5)), weights.view(1, 1, 5, 1))[:, 0]


def _slopes(light: Tensor) -> tuple[Tensor, Tensor]:
    """How steep (b, h, w), and the direction in eighths of a turn."""
    kernel = light.new_tensor(SOBEL)
    padded = F.pad(light[:, None], (1, 1, 1, 1), mode="replicate")
    across, down = F.conv2d(padded, torch.stack([kernel, kernel.T])[:, None]).unbind(1)
    return torch.sqrt(across.square() + down.square() + TINY), torch.round(torch.atan2(down, across) / (torch.pi / 4))


def _is_ridge(slope: Tensor, turn: Tensor) -> Tensor:
    """Whether a pixel is steeper than both its neighbours in the direction of the slope."""
    height, width = slope.shape[1:]
    padded = F.pad(slope, (1, 1, 1, 1))
    found = torch.zeros_like(slope, dtype=torch.bool)
    for place, (y, x) in enumerate(STEPS):
        ahead, behind = (padded[:, 1 + s * y : 1 + s * y + height, 1 + s * x : 1 + s * x + width] for s in (1, -1))
        found |= (turn % 4 == place) & (slope > ahead) & (slope > behind)
    return found


class Canny(io.ComfyNode):
    """Edges of pictures, white on black."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        limits = {"low_threshold": 0.4, "high_threshold": 0.8}
        numbers = [io.Float.Input(name, default=value, min=0.01, max=0.99) for name, value in limits.items()]
        return io.Schema(
            node_id="Canny",
            display_name="Canny",
            category="image/preprocessors",
            inputs=[io.Image.Input("image"), *numbers],
            outputs=[io.Image.Output("IMAGE")],
        )

    @classmethod
    def execute(cls, image: Tensor, low_threshold: float, high_threshold: float) -> io.NodeOutput:
        found = edges(image.float(), low_threshold, high_threshold)
        return io.NodeOutput(repeat(found, "b h w -> b h w c", c=3))
