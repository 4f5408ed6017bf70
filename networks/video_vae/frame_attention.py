"""Single-head attention over the pixels of each frame: block `attn`, in no published file."""

# B batch, C channels, F frames, H height, W width, N batch times frames, T pixels of a frame
from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from einops import rearrange
from torch import Tensor, nn

from ..attention import attention
from ..operations import Operations, torch_operations
from .streaming import Stream

NORM_FLOOR = 1e-12


class ChannelNorm(nn.Module):
    """x / max(norm over channels, 1e-12) * sqrt(C) * gamma."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        scale: Tensor = self.gamma.to(x) * x.shape[1] ** 0.5
        return F.normalize(x, dim=1, eps=NORM_FLOOR) * scale


class FrameAttention(nn.Module):
    """x + proj(attention(to_qkv(norm(x)))), frame by frame (spec page video_vae, section 4)."""

    def __init__(self, channels: int, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.to_qkv = operations.Conv2d(channels, 3 * channels, 1)
        self.proj = operations.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, stream: Stream, last: bool) -> Tensor:
        batch, height = x.shape[0], x.shape[3]
        images = rearrange(x, "b c f h w -> (b f) c h w")
        q, k, v = rearrange(self.to_qkv(self.norm(images)), "n (three c) h w -> three n 1 (h w) c", three=3)
        h = rearrange(attention(q, k, v), "n 1 (h w) c -> n c h w", h=height)
        branch: Tensor = rearrange(self.proj(h), "(b f) c h w -> b c f h w", b=batch)
        return x + branch
