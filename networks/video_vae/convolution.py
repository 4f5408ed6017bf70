"""The causal convolution of the video VAE, and the norm and activation that precede most of them."""

# B batch, C channels, F frames, H height, W width, N frames of a padded window
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from ..operations import Operations, torch_operations
from .config import PaddingMode
from .pixels import channels_last
from .streaming import Stream

KERNEL = 3
PIXEL_NORM_EPS = 1e-8
# where the outer rows of a map with one row of padding a side come from: (top, bottom)
EDGE_SOURCES = {"reflect": (2, -3), "replicate": (1, -2), "circular": (-2, 1)}

Writer = Callable[[Tensor, Tensor], None]  # (x, out): write a function of x into out, of the same shape


def write_copy(x: Tensor, out: Tensor) -> None:
    out.copy_(x)


def _reciprocal_rms(x: Tensor) -> Tensor:
    """1 / sqrt(mean over channels of x^2 + 1e-8): float32 (B, 1, F, H, W)."""
    # a norm needs no full-size map of squares, and sums in float32
    norm = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float32)
    return torch.rsqrt(norm * norm / x.shape[1] + PIXEL_NORM_EPS)


@dataclass(frozen=True)
class NormSiLU:
    """SiLU(PN(x) * (1 + scale) + shift), written in place (spec page video_vae, sections 4 and 5.4).

    PN(x) = x / sqrt(mean over channels of x^2 + 1e-8). shift, scale: (1, C, 1, 1, 1), or None for no modulation.
    """

    shift: Tensor | None = None
    scale: Tensor | None = None

    def __call__(self, x: Tensor, out: Tensor) -> None:
        if torch.is_grad_enabled():
            out.copy_(F.silu(self._modulate((x * _reciprocal_rms(x)).to(x.dtype))))
        elif x.device.type == "cpu":
            # Frame by frame in float32: a product of two dtypes makes float32 copies of whole maps on a CPU.
            for frame, target in zip(x.unbind(2), out.unbind(2), strict=True):  # B C H W
                target.copy_(self._one_frame(frame))
        else:
            torch.mul(x, _reciprocal_rms(x), out=out)
            F.silu(self._modulate(out), inplace=True)

    def _one_frame(self, frame: Tensor) -> Tensor:
        """Of (B, C, H, W), float32."""
        h = frame.to(torch.float32, copy=True)[:, :, None]
        return F.silu(self._modulate(h.mul_(_reciprocal_rms(h))), inplace=True)[:, :, 0]

    def _modulate(self, h: Tensor) -> Tensor:
        if self.shift is None or self.scale is None:
            return h
        if torch.is_grad_enabled():
            return h * (1 + self.scale) + self.shift
        return h.mul_(1 + self.scale).add_(self.shift)


class CausalConv3d(nn.Module):
    """3x3x3 convolution: time is padded by repeating frames, space by a padding mode (spec page video_vae, section 4).

    causal: two copies of the first frame in front; otherwise one in front and one copy of the last frame behind,
    so that the layer lags one frame behind its input.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        padding: PaddingMode,
        causal: bool,
        stride: tuple[int, int, int] = (1, 1, 1),
        operations: Operations = torch_operations,
    ) -> None:
        super().__init__()
        self.padding = padding
        self.causal = causal
        self.stride = stride
        self.out_channels = out_channels
        self.growth = max(1.0, out_channels / in_channels)  # elements made of one
        self.edge = 0 if padding == "zeros" else 1
        space = 1 - self.edge  # the layer pads with zeros itself, without a copy
        self.conv = operations.Conv3d(in_channels, out_channels, KERNEL, stride=stride, padding=(0, space, space))

    def forward(self, x: Tensor, stream: Stream, last: bool) -> Tensor:
        """x (B, C, F, H, W) → (B, out_channels, F', H', W'): the frames that can be computed by now."""
        return self.convolve(self.window(x, stream, last))

    def window(self, x: Tensor, stream: Stream, last: bool, write: Writer = write_copy) -> Tensor:
        """The remembered frames, then write(x), padded (B, C, N, H + 2 edge, W + 2 edge), in one new tensor.

        `convolve` is a second step so that a caller can drop x before the result is allocated.
        """
        if x.shape[2] == 0:
            return self.laid_out([x], write, front=0, behind=0)
        kept = stream.take(self)
        front = kept.shape[2] if kept is not None else 1 + self.causal
        window = self.laid_out([x], write, front=front, behind=int(last and not self.causal))
        if kept is not None:
            window[:, :, :front] = kept
        if not last:
            stream.keep(self, window[:, :, self._count(window) * self.stride[0] :])
        return window

    def laid_out(self, parts: Sequence[Tensor], write: Writer, *, front: int, behind: int) -> Tensor:
        """write(part) of all parts (B, C, f, H, W) one behind the other, padded in space, in one new tensor.

        The first frame stands `front` times more before them, the last one `behind` times more behind. Without any
        frame: none.
        """
        x, frames = parts[-1], sum(part.shape[2] for part in parts)
        batch, channels, _, height, width = x.shape
        size = height + 2 * self.edge, width + 2 * self.edge
        if frames == 0:
            return x.new_empty(batch, channels, 0, *size)
        # torch lays the weights out anew for such a map in every call: only for one that is larger than they are
        weights = self.conv.in_channels * self.conv.out_channels * KERNEL**3
        layout = torch.channels_last_3d if channels_last(x) and x.numel() > weights else torch.contiguous_format
        shape = batch, channels, front + frames + behind, *size
        window = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout)
        end = front
        for part in parts:
            start, end = end, end + part.shape[2]
            write(part, window[:, :, start:end, self.edge : self.edge + height, self.edge : self.edge + width])
        self._fill_edges(window[:, :, front:end])
        window[:, :, :front] = window[:, :, front : front + 1]
        window[:, :, end:] = window[:, :, end - 1 : end]
        return window

    def convolve(self, window: Tensor) -> Tensor:
        """window (B, C, N, H + 2 edge, W + 2 edge) → (B, out_channels, max(N - 2, 0), H, W), fewer by the stride."""
        if window.shape[2] >= KERNEL:
            result: Tensor = self.conv(window)
            return result
        height, width = (
            (size - 2 * self.edge - 1) // stride + 1
            for size, stride in zip(window.shape[3:], self.stride[1:], strict=True)
        )
        return window.new_empty(window.shape[0], self.out_channels, 0, height, width)

    def _count(self, window: Tensor) -> int:
        return max(0, (window.shape[2] - KERNEL) // self.stride[0] + 1)

    def _fill_edges(self, x: Tensor) -> None:
        if not self.edge:
            return
        first, last = EDGE_SOURCES[self.padding]
        x[..., 0, :], x[..., -1, :] = x[..., first, :], x[..., last, :]
        x[..., 0], x[..., -1] = x[..., first], x[..., last]
