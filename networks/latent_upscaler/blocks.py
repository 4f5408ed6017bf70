"""The residual block of a latent upscaler."""

# B batch, M channels, F frames, H height, W width
from __future__ import annotations

from functools import partial

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from ..operations import Operations, torch_operations
from .config import GROUPS
from .pieces import convolve, normalize


class ResBlock(nn.Module):
    """SiLU(GN2(conv2(SiLU(GN1(conv1(x))))) + x) (spec page latent_upscaler, section 4): it ends in an activation."""

    def __init__(self, channels: int, dims: int, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        conv = partial(operations.Conv3d if dims == 3 else operations.Conv2d, channels, channels, 3, padding=1)
        self.conv1 = conv()
        self.norm1 = operations.GroupNorm(GROUPS, channels)
        self.conv2 = conv()
        self.norm2 = operations.GroupNorm(GROUPS, channels)

    def forward(self, x: Tensor, limit: int) -> Tensor:
        """x (B, M, F, H, W), or images (B, M, H, W), stays as it is; limit: see `convolve`."""
        h = convolve(self.conv1, x, limit)
        h = F.silu(normalize(self.norm1, h, limit), inplace=True)
        h = convolve(self.conv2, h, limit, overwrite=True)
        h = normalize(self.norm2, h, limit)  # a statement of its own: the input of conv2 is free by now
        return F.silu(h.add_(x), inplace=True)
