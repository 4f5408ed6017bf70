"""The layer of a latent upscaler that changes the size: a wide convolution whose channels become cells or frames."""

# B batch, M channels, F frames, H height, W width, N images (frames of a clip)
from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from einops import rearrange
from torch import Tensor, nn

from ..operations import Operations, torch_operations
from .config import LatentUpscalerConfig, resampled
from .pieces import convolved, frames_within

BLUR_SIZE = 5


def blur_downsample(x: Tensor, kernel: Tensor, stride: int) -> Tensor:
    """Blur every channel and keep each `stride`-th row and column (spec page latent_upscaler, section 5).

    x (N, M, H, W); kernel (1, 1, 5, 5), cast to x; zeros beyond the border, which darken it.
    Returns (N, M, ceil(H/stride), ceil(W/stride)).
    """
    channels = x.shape[1]
    weight = kernel.to(x).expand(channels, 1, -1, -1)
    return F.conv2d(x, weight, stride=stride, padding=BLUR_SIZE // 2, groups=channels)


class BlurDownsample(nn.Module):
    """`blur_downsample` with the kernel of the file; stride 1 is no blur at all, though the file holds a kernel."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.register_buffer("kernel", torch.empty(1, 1, BLUR_SIZE, BLUR_SIZE))

    def forward(self, x: Tensor) -> Tensor:
        return x if self.stride == 1 else blur_downsample(x, self.get_buffer("kernel"), self.stride)


class FrameResampler(nn.Module):
    """What the two resamplers of single frames share: frames as images, as many at a time as memory allows."""

    def __init__(self, channels: int, ratio: tuple[int, int]) -> None:
        super().__init__()
        self.up, self.down = ratio
        self.wide = channels * self.up**2

    def forward(self, x: Tensor, limit: int) -> Tensor:
        """x (B, M, F, H, W) → (B, M, F, ceil(H*up/down), ceil(W*up/down)); images (N, M, H, W) likewise, in one go.

        limit: elements of the largest map that the convolution makes.
        """
        if x.ndim == 4:
            return self.resample(x)
        frames, step = x.shape[2], frames_within(limit, x, self.wide)
        if step >= frames:
            return self._clip(x).contiguous()
        out = x.new_empty(*x.shape[:3], *(resampled(side, (self.up, self.down)) for side in x.shape[3:]))
        for start in range(0, frames, step):
            out[:, :, start : start + step] = self._clip(x[:, :, start : start + step])
        return out

    def resample(self, images: Tensor) -> Tensor:
        raise NotImplementedError

    def shuffle(self, images: Tensor) -> Tensor:
        """Channel (c*up + i)*up + j at (h, w) goes to (c, up*h + i, up*w + j)."""
        return rearrange(images, "n (c i j) h w -> n c (h i) (w j)", i=self.up, j=self.up)

    def _clip(self, x: Tensor) -> Tensor:
        images = self.resample(rearrange(x, "b c f h w -> (b f) c h w"))
        return rearrange(images, "(b f) c h w -> b c f h w", b=x.shape[0])


class SpatialResampler(FrameResampler):
    """Twice the height and width of each frame. Its convolution bears the published name `0`."""

    def __init__(self, channels: int, ratio: tuple[int, int], *, operations: Operations = torch_operations) -> None:
        super().__init__(channels, ratio)
        self.add_module("0", operations.Conv2d(channels, self.wide, 3, padding=1))

    def resample(self, images: Tensor) -> Tensor:
        return self.shuffle(self.get_submodule("0")(images))


class RationalResampler(FrameResampler):
    """Height and width of each frame times up/down: shuffled up, blurred, every `down`-th kept."""

    def __init__(self, channels: int, ratio: tuple[int, int], *, operations: Operations = torch_operations) -> None:
        super().__init__(channels, ratio)
        self.conv = operations.Conv2d(channels, self.wide, 3, padding=1)
        self.blur_down = BlurDownsample(self.down)

    def resample(self, images: Tensor) -> Tensor:
        blurred: Tensor = self.blur_down(self.shuffle(self.conv(images)))
        return blurred


class TemporalResampler(nn.Module):
    """Twice the frames, without the first of them: F → 2F - 1; with `space` 2 also twice the height and width."""

    def __init__(self, channels: int, space: int, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        self.channels = channels
        self.space = space
        self.add_module("0", operations.Conv3d(channels, 2 * space**2 * channels, 3, padding=1))

    def forward(self, x: Tensor, limit: int) -> Tensor:
        """x (B, M, F, H, W) → (B, M, 2F - 1, space*H, space*W); limit: see `convolve`."""
        batch, _, frames, height, width = x.shape
        out = x.new_empty(batch, self.channels, 2 * frames - 1, self.space * height, self.space * width)
        conv = self.get_submodule("0")
        assert isinstance(conv, nn.Conv3d)
        for start, wide in convolved(conv, x, limit):
            piece = self._shuffle(wide)[:, :, int(start == 0) :]
            first = max(0, 2 * start - 1)
            out[:, :, first : first + piece.shape[2]] = piece
        return out

    def _shuffle(self, x: Tensor) -> Tensor:
        """Channel ((c*2 + i)*s + j)*s + k at (f, h, w) goes to (c, 2*f + i, s*h + j, s*w + k)."""
        return rearrange(x, "b (c i j k) f h w -> b c (f i) (h j) (w k)", i=2, j=self.space, k=self.space)


def make_resampler(config: LatentUpscalerConfig, operations: Operations) -> nn.Module:
    channels = config.mid_channels
    if config.resampler == "rational":
        return RationalResampler(channels, config.ratio, operations=operations)
    if config.resampler == "spatial":
        return SpatialResampler(channels, config.ratio, operations=operations)
    return TemporalResampler(channels, config.ratio[0], operations=operations)
