"""Layers of the diffusion decoder: gated MLP, upsampling, time embedding (spec page video_vae, section 9.3)."""

# B batch, T frames, H height, W width, C channels; i j k inside a stride
from __future__ import annotations

from collections.abc import Iterator
from math import log, prod

import torch
import torch.nn.functional as F  # noqa: N812
from einops import rearrange
from torch import Tensor, nn

from ...operations import Operations, torch_operations
from ..timestep import LONGEST_PERIOD, SINUSOID_WIDTH
from .config import Upsampling

NORM_EPS = 1e-6
MLP_GROWTH, MLP_MULTIPLE = 4, 16
HIDDEN_ELEMENTS = 2**25  # of one hidden buffer of an MLP
SLAB_ELEMENTS = 2**29  # of the widest tensor that is made at once: far below 2^31, where 32-bit indices end


def slabs(frames: int, elements_a_frame: int, most: int) -> Iterator[tuple[int, int]]:
    """[start, stop) pieces of 1 to `most` frames, as many as stay below SLAB_ELEMENTS."""
    step = max(1, min(most, SLAB_ELEMENTS // elements_a_frame))
    for start in range(0, frames, step):
        yield start, min(start + step, frames)


class GatedMLP(nn.Module):
    """w_down(SiLU(w_gate x) * w_up x), in pieces so that only one small hidden buffer exists."""

    def __init__(self, channels: int, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        hidden = -(-MLP_GROWTH * channels // MLP_MULTIPLE) * MLP_MULTIPLE
        self.tokens = max(1, HIDDEN_ELEMENTS // hidden)
        self.w_up = operations.Linear(channels, hidden, bias=False)
        self.w_gate = operations.Linear(channels, hidden, bias=False)
        self.w_down = operations.Linear(hidden, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (…, C) → the same shape."""
        pieces = torch.split(x.reshape(-1, x.shape[-1]), self.tokens)
        return torch.cat([self.w_down(F.silu(self.w_gate(piece)) * self.w_up(piece)) for piece in pieces]).view_as(x)


class Upsample(nn.Module):
    """Linear layer and depth-to-space."""

    def __init__(self, channels: int, upsampling: Upsampling, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        self.stride = upsampling.stride
        self.out_channels = channels // upsampling.reduction
        self.proj = operations.Linear(channels, prod(self.stride) * self.out_channels)

    def forward(self, x: Tensor, *, starts_clip: bool = True) -> Tensor:
        """x (B, T, H, W, C) → (B, T', H', W', C'); the first frame of a doubled clip is dropped."""
        raised = Raised(self, x, starts_clip)
        frames, height, width = raised.shape
        out = x.new_empty(x.shape[0], frames, height, width, self.out_channels)
        for start, stop in slabs(frames, height * width * self.out_channels, frames):
            out[:, start:stop] = raised.frames(start, stop)
        return out


class Raised:
    """The upsampled volume of x (B, T, H, W, C), computed for the frames that are asked for.

    The context of stage 5 is read by every block of it; what it is made from is a quarter of its size.
    """

    def __init__(self, upsample: Upsample, x: Tensor, starts_clip: bool, keep: int | None = None) -> None:
        """starts_clip: x holds the start of the clip, so a doubling drops its first frame; keep: frames to be used."""
        frames, height, width = upsample.stride
        self.upsample, self.x = upsample, x
        self.dropped = frames - 1 if starts_clip else 0
        self.shape = frames * x.shape[1] - self.dropped, height * x.shape[2], width * x.shape[3]
        if keep is not None:
            self.shape = keep, *self.shape[1:]

    def frames(self, start: int, stop: int) -> Tensor:
        """Frames [start, stop): (B, stop - start, H', W', C')."""
        a, b, c = self.upsample.stride
        start, stop = start + self.dropped, stop + self.dropped
        first, last = start // a, -(-stop // a)
        raised: Tensor = rearrange(
            self.upsample.proj(self.x[:, first:last]),
            "n t h w (d i j k) -> n (t i) (h j) (w k) d",
            i=a,
            j=b,
            k=c,
        )
        return raised[:, start - a * first : stop - a * first]


class TimestepEmbedder(nn.Module):
    """Sinusoids of a scaled time, through two linear layers."""

    def __init__(self, channels: int, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            operations.Linear(SINUSOID_WIDTH, channels), nn.SiLU(), operations.Linear(channels, channels)
        )

    def forward(self, timestep: Tensor, dtype: torch.dtype) -> Tensor:
        """timestep () float32, scaled → (channels,) in `dtype`."""
        half = SINUSOID_WIDTH // 2
        steps = torch.arange(half, dtype=torch.float32, device=timestep.device)
        angles = timestep * torch.exp(steps * (-log(LONGEST_PERIOD) / half))
        result: Tensor = self.mlp(torch.cat([angles.cos(), angles.sin()]).to(dtype))
        return result


class SharedModulation(nn.Module):
    """Rows of scale, shift and gate that all diffusion blocks share; each adds its own table."""

    def __init__(
        self, time_channels: int, rows: int, channels: int, *, operations: Operations = torch_operations
    ) -> None:
        super().__init__()
        self.rows = rows
        self.proj = operations.Linear(time_channels, rows * channels)

    def forward(self, embedding: Tensor) -> Tensor:
        """(time_channels,) → (rows, C)."""
        rows: Tensor = rearrange(self.proj(F.silu(embedding)), "(r c) -> r c", r=self.rows)
        return rows
