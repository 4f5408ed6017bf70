"""Timestep embedding of the conditioned decoders of LTX-2 (spec page video_vae, section 5.4)."""

# C channels of the embedding
from __future__ import annotations

from math import log

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from ..operations import Operations, torch_operations

SINUSOID_WIDTH = 256
LONGEST_PERIOD = 10000


class TimestepMLP(nn.Module):
    def __init__(self, channels: int, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        self.linear_1 = operations.Linear(SINUSOID_WIDTH, channels)
        self.linear_2 = operations.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.linear_2(F.silu(self.linear_1(x)))
        return result


class TimeEmbedder(nn.Module):
    """linear_2(SiLU(linear_1([cos | sin]))) of a scaled timestep; two levels deep for the sake of the key names."""

    def __init__(self, channels: int, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        self.timestep_embedder = TimestepMLP(channels, operations=operations)

    def forward(self, timestep: Tensor, dtype: torch.dtype) -> Tensor:
        """timestep () float32, already multiplied by the learned scale → (C,) in `dtype`."""
        half = SINUSOID_WIDTH // 2
        steps = torch.arange(half, dtype=torch.float32, device=timestep.device)
        angles = timestep * torch.exp(steps * (-log(LONGEST_PERIOD) / half))
        waves = torch.cat([angles.cos(), angles.sin()]).to(dtype)
        result: Tensor = self.timestep_embedder(waves)
        return result


def scale_shift_rows(table: Tensor, embedding: Tensor) -> Tensor:
    """table (R, C) + embedding (R*C,) → (R, 1, C, 1, 1, 1): R rows that broadcast against (B, C, F, H, W)."""
    rows = table.to(embedding) + embedding.view_as(table)
    return rows[:, None, :, None, None, None]
