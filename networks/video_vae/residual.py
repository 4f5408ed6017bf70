"""Residual blocks: `res_x` (a row of them, timestep conditioned in some decoders) and `res_x_y` (changes the width)."""

# B batch, C channels, F frames, H height, W width
from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from ..operations import Operations, torch_operations
from .config import PaddingMode
from .convolution import CausalConv3d, NormSiLU
from .streaming import Layer, Stream, latest
from .timestep import TimeEmbedder, scale_shift_rows

GROUP_NORM_EPS = 1e-6
LAG = 2  # frames by which a block of two convolutions is behind its input, unless they are causal
TABLE_ROWS = 4  # shift 1, scale 1, shift 2, scale 2


class ResidualBlock(nn.Module):
    """x + conv2(SiLU(PN(conv1(SiLU(PN(x)))))) (spec page video_vae, section 4).

    With a change of width (res_x_y) the shortcut is a 1x1x1 convolution of a 1-group group norm. That norm is over
    all frames of the clip, so such a block waits for the end of the clip and its memory grows with it.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        padding: PaddingMode,
        causal: bool,
        inject_noise: bool = False,
        timestep_conditioning: bool = False,
        operations: Operations = torch_operations,
    ) -> None:
        super().__init__()
        conv = partial(CausalConv3d, padding=padding, causal=causal, operations=operations)
        self.conv1 = conv(in_channels, out_channels)
        self.conv2 = conv(out_channels, out_channels)
        self.changes_width = in_channels != out_channels
        self.inject_noise = inject_noise
        if self.changes_width:
            self.norm3 = operations.GroupNorm(1, in_channels, eps=GROUP_NORM_EPS)
            self.conv_shortcut = operations.Conv3d(in_channels, out_channels, 1)
        if inject_noise:
            self.per_channel_scale1 = nn.Parameter(torch.empty(out_channels, 1, 1))
            self.per_channel_scale2 = nn.Parameter(torch.empty(out_channels, 1, 1))
        if timestep_conditioning:
            self.scale_shift_table = nn.Parameter(torch.empty(TABLE_ROWS, in_channels))

    def forward(self, x: Tensor, stream: Stream, last: bool, embedding: Tensor | None = None) -> Tensor:
        """x (B, C, F, H, W); embedding (4*C,) of the timestep, for conditioned blocks."""
        if self.changes_width:
            x = stream.joined((self, "clip"), x)
            if not last:
                stream.keep((self, "clip"), x)
                return self.conv1.forward(x[:, :, :0], stream, last)  # nothing yet, in the right shape
        write1, write2 = self._activations(embedding)
        parts, window = self._first_window(x, stream, last, write1)
        h = self.conv1.convolve(window)
        del window
        window = self.conv2.window(self._with_noise(h, stream, 1), stream, last, write2)
        del h  # before the next map of its size is made
        h = self._with_noise(self.conv2.convolve(window), stream, 2)
        return self._add_shortcut(h, parts)

    def _first_window(self, x: Tensor, stream: Stream, last: bool, write: NormSiLU) -> tuple[list[Tensor], Tensor]:
        """The frames whose results follow from here on, and the window of conv1.

        Two convolutions that look one frame ahead lag two frames behind. These two are kept as they came, for the
        shortcut, and normed again for conv1: it would keep a second copy of them otherwise.
        """
        if self.conv1.causal or self.changes_width:
            return [x], self.conv1.window(x, stream, last, write)
        kept = stream.take(self)
        parts = [x] if kept is None else [kept, x]
        begins = kept is None or kept.shape[2] < LAG
        window = self.conv1.laid_out(parts, write, front=int(begins), behind=int(last))
        if not last:
            stream.keep(self, latest(parts, LAG))
        return parts, window

    def _activations(self, embedding: Tensor | None) -> tuple[NormSiLU, NormSiLU]:
        if embedding is None:
            return NormSiLU(), NormSiLU()
        shift1, scale1, shift2, scale2 = scale_shift_rows(self.scale_shift_table, embedding)
        return NormSiLU(shift1, scale1), NormSiLU(shift2, scale2)

    def _with_noise(self, h: Tensor, stream: Stream, index: int) -> Tensor:
        if not self.inject_noise:
            return h
        table = self.per_channel_scale1 if index == 1 else self.per_channel_scale2
        noise = stream.once((self, index), lambda: stream.draw(h.shape[-2:])).to(h)  # H W
        return h.add_((noise * table.to(h))[:, None])

    def _add_shortcut(self, h: Tensor, parts: Sequence[Tensor]) -> Tensor:
        if self.changes_width:
            return h.add_(self.conv_shortcut(self.norm3(parts[-1])))
        start = 0
        for part in parts:
            part = part[:, :, : h.shape[2] - start]
            h[:, :, start : start + part.shape[2]].add_(part)
            start += part.shape[2]
        return h


class ResX(nn.Module):
    """`num_layers` residual blocks of one width, which share a timestep embedding where the decoder has one."""

    def __init__(
        self,
        channels: int,
        num_layers: int,
        *,
        padding: PaddingMode,
        causal: bool,
        inject_noise: bool = False,
        timestep_conditioning: bool = False,
        operations: Operations = torch_operations,
    ) -> None:
        super().__init__()
        self.time_embedder = (
            TimeEmbedder(TABLE_ROWS * channels, operations=operations) if timestep_conditioning else None
        )
        self.res_blocks = nn.ModuleList(
            ResidualBlock(
                channels,
                channels,
                padding=padding,
                causal=causal,
                inject_noise=inject_noise,
                timestep_conditioning=timestep_conditioning,
                operations=operations,
            )
            for _ in range(num_layers)
        )

    def layers(self) -> list[Layer]:
        """The blocks one by one, so that the input of the first is not held while the others run."""
        return [partial(self._run, block) for block in self.res_blocks]

    def _run(self, block: nn.Module, x: Tensor, stream: Stream, last: bool) -> Tensor:
        result: Tensor = block(x, stream, last, self._embedding(x, stream))
        return result

    def _embedding(self, x: Tensor, stream: Stream) -> Tensor | None:
        embedder, timestep = self.time_embedder, stream.timestep
        if embedder is None:
            return None
        assert timestep is not None
        return stream.once(self, lambda: embedder(timestep, x.dtype))
