"""Blocks of the diffusion decoder: neighbourhood attention and MLP, a few frames at a time (section 9.3).

A block changes its volume in place, slab by slab along the frames. Keys and values are made once a frame and are kept
for as long as a later slab sees them, so beside the volume itself a block needs memory for a kernel's length of frames.
"""

# B batch, T frames, H height, W width, C channels, N heads, D head width
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn

from ...operations import Operations, torch_operations
from .config import Triple
from .layers import NORM_EPS, GatedMLP, Raised, slabs
from .neighbourhood import FRAMES_A_BLOCK, Axis, neighbourhood_attention
from .rope import Rotations, rotate, rotations

MODULATION_ROWS = 7  # scale, shift, gate of attention; scale, shift, gate of MLP; gate of context. Gates are unused


class Projected(NamedTuple):
    """Queries, keys and values (B, t, H, W, N, D) of some frames."""

    q: Tensor
    k: Tensor
    v: Tensor


class Modulation(NamedTuple):
    """What a norm's result is multiplied by (plus 1) and moved by: (C,) each."""

    scale: Tensor
    shift: Tensor

    def of(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.shift, x, 1 + self.scale)


def _unchanged(x: Tensor) -> Tensor:
    return x


def _nothing(part: Tensor, start: int, stop: int) -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a diffusion block does beyond a deterministic one."""

    attention: Callable[[Tensor], Tensor] = _unchanged  # on the normed input
    mlp: Callable[[Tensor], Tensor] = _unchanged
    prepare: Callable[[Tensor, int, int], None] = _nothing  # changes frames [start, stop) in place, once
    repeat_columns: bool = False


class NeighbourhoodAttention(nn.Module):
    """Projections and normed, rotated heads of one attention layer."""

    def __init__(self, channels: int, head_dim: int, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.qkv = operations.Linear(channels, 3 * channels)
        self.q_norm = operations.RMSNorm(head_dim, eps=NORM_EPS)
        self.k_norm = operations.RMSNorm(head_dim, eps=NORM_EPS)
        self.proj = operations.Linear(channels, channels)

    def project(self, x: Tensor, tables: Rotations) -> Projected:
        """x (B, t, H, W, C), normed; tables for its positions."""
        q, k, v = rearrange(self.qkv(x), "b t h w (r n d) -> r b t h w n d", r=3, d=self.head_dim)
        q = self.q_norm(q) * self.head_dim**-0.5
        return Projected(rotate(q, tables), rotate(self.k_norm(k), tables), v)


class Rolling:
    """Projected frames from `first` on that a later slab still sees; more are made when they are asked for."""

    def __init__(self, project: Callable[[int, int], Projected], step: int) -> None:
        self._project, self._step = project, step
        self._first = self._end = 0
        self._held: list[Projected] = []

    def between(self, low: int, high: int) -> Projected:
        """Frames [low, high); neither may move back from one call to the next."""
        surplus = low - self._first
        kept = [Projected(*(x[:, surplus:] for x in part)) for part in self._held]
        while self._end < high:
            stop = min(self._end + self._step, high)
            kept.append(self._project(self._end, stop))
            self._end = stop
        joined = Projected(*(torch.cat(parts, dim=1) for parts in zip(*kept, strict=True)))
        self._first, self._held = low, [joined]
        return joined


class NeighbourhoodBlock(nn.Module):
    """x += attn(norm1 x), x += mlp(norm2 x)."""

    def __init__(
        self, channels: int, head_dim: int, kernel: Triple, *, operations: Operations = torch_operations
    ) -> None:
        super().__init__()
        self.kernel = kernel
        self.norm1 = operations.RMSNorm(channels, eps=NORM_EPS)
        self.attn = NeighbourhoodAttention(channels, head_dim, operations=operations)
        self.norm2 = operations.RMSNorm(channels, eps=NORM_EPS)
        self.mlp = GatedMLP(channels, operations=operations)

    def forward(self, x: Tensor) -> Tensor:
        """Changes x (B, T, H, W, C) in place and returns it."""
        return self._run(x, Step())

    def _run(self, x: Tensor, step: Step) -> Tensor:
        _, frames, height, width, channels = x.shape
        border = self.kernel[2] // 2 if step.repeat_columns else 0
        rows = Axis.whole(height, self.kernel[1])
        columns = Axis(length=width + 2 * border, kernel=self.kernel[2], first_query=border, queries=width)
        tables = rotations((0, 0, -border), (frames, height, columns.length), self.attn.head_dim, x.device)

        def project(start: int, stop: int) -> Projected:
            return self._project(x, start, stop, step, (tables[0].part(start, stop), *tables[1:]), border)

        pieces = list(slabs(frames, height * columns.length * 3 * channels, FRAMES_A_BLOCK))
        rolling = Rolling(project, pieces[0][1])
        for start, stop in pieces:
            queries = Axis(length=frames, kernel=self.kernel[0], first_query=start, queries=stop - start)
            low, high = queries.window(start), queries.window(stop - 1) + self.kernel[0]
            seen = rolling.between(low, high)
            q = seen.q[:, start - low : stop - low, :, border : border + width]
            axes = replace(queries, first_key=low), rows, columns
            self._finish(x[:, start:stop], neighbourhood_attention(q, seen.k, seen.v, axes), step)
        return x

    def _project(self, x: Tensor, start: int, stop: int, step: Step, tables: Rotations, border: int) -> Projected:
        part = x[:, start:stop]
        step.prepare(part, start, stop)
        normed = step.attention(self.norm1(part))
        if border:
            edges = normed[:, :, :, :1], normed[:, :, :, -1:]
            left, right = (edge.expand(-1, -1, -1, border, -1) for edge in edges)
            normed = torch.cat([left, normed, right], dim=3)
        return self.attn.project(normed, tables)

    def _finish(self, part: Tensor, attended: Tensor, step: Step) -> None:
        part += self.attn.proj(rearrange(attended, "b t h w n d -> b t h w (n d)"))
        part += self.mlp(step.mlp(self.norm2(part)))


class DiffusionBlock(NeighbourhoodBlock):
    """A block under a context and a time: x += context_proj(context) first, norms modulated (section 9.4, step 6)."""

    def __init__(
        self,
        channels: int,
        context_channels: int,
        head_dim: int,
        kernel: Triple,
        *,
        operations: Operations = torch_operations,
    ) -> None:
        super().__init__(channels, head_dim, kernel, operations=operations)
        self.context_proj = operations.Linear(context_channels, channels)
        self.scale_shift_table = nn.Parameter(torch.empty(MODULATION_ROWS, channels))

    def denoise(self, x: Tensor, context: Raised, modulation: Tensor, *, repeat_columns: bool) -> Tensor:
        """Changes x (B, T, H, W, C) in place and returns it. modulation (MODULATION_ROWS, C).

        repeat_columns: windows at the left and right border see copies of the border column instead of moving inward.
        """
        rows = modulation + self.scale_shift_table.to(modulation)

        def prepare(part: Tensor, start: int, stop: int) -> None:
            part += self.context_proj(context.frames(start, stop))

        step = Step(
            attention=Modulation(rows[0], rows[1]).of,
            mlp=Modulation(rows[3], rows[4]).of,
            prepare=prepare,
            repeat_columns=repeat_columns,
        )
        return self._run(x, step)
