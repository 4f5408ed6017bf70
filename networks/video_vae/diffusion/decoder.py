"""Diffusion decoder of LTX-2.5: normalised latents and noise → pixels (spec page video_vae, section 9).

Stages 1 to 3 run once on the whole latent, stages 4 and 5 once a tile. Time grows linearly with the clip; so does
memory, up to one tile.
"""

# B batch, C channels, F latent frames, T frames, H height, W width; cells: the grid of stage 4
from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812
from einops import rearrange
from torch import Tensor, nn

from ...operations import Operations, torch_operations
from ..blending import Tile, blend
from ..decoder import DecoderNoise
from ..limits import refuse_shape
from ..pixels import patchify, unpatchify
from ..statistics import PerChannelStatistics
from ..streaming import join
from ..tiling import AxisPlan, Tiling
from .blocks import MODULATION_ROWS, DiffusionBlock, NeighbourhoodBlock
from .config import DETERMINISTIC_STAGES, DiffusionDecoderConfig, Triple
from .layers import NORM_EPS, Raised, SharedModulation, TimestepEmbedder, Upsample, slabs
from .noise import Canvas
from .tiling import diffusion_plans

Plans = tuple[AxisPlan, AxisPlan, AxisPlan]
FRAMES_A_SLAB = 8  # what is projected to and from pixels at once


class DiffusionDecoder(nn.Module):
    """Neighbourhood-attention transformer; the inner layout is (B, T, H, W, C)."""

    def __init__(self, config: DiffusionDecoderConfig, *, operations: Operations = torch_operations) -> None:
        super().__init__()
        self.config = config
        self.per_channel_statistics = PerChannelStatistics(config.latent_channels)
        self.conv_in = operations.Linear(config.latent_channels, config.channels[0])
        self.det_stages = nn.ModuleList()
        self.upsamples = nn.ModuleList()
        for stage in range(DETERMINISTIC_STAGES):
            width, kernel = config.channels[stage], config.kernels[stage]
            blocks = (
                NeighbourhoodBlock(width, config.head_dim, kernel, operations=operations)
                for _ in range(config.depths[stage])
            )
            self.det_stages.append(nn.ModuleList(blocks))
            self.upsamples.append(Upsample(width, config.upsamplings[stage], operations=operations))
        width, patch = config.channels[-1], config.out_channels * config.patch_size**2
        self.t_embedder = TimestepEmbedder(config.time_channels, operations=operations)
        self.conv_in_x_t = operations.Linear(patch, width)
        self.shared_adaln = SharedModulation(config.time_channels, MODULATION_ROWS, width, operations=operations)
        self.diff_blocks = nn.ModuleList(
            DiffusionBlock(width, config.context_channels, config.head_dim, config.kernels[-1], operations=operations)
            for _ in range(config.depths[-1])
        )
        self.norm_out = operations.RMSNorm(width, eps=NORM_EPS)
        self.conv_out = operations.Linear(width, patch)

    def decode(
        self,
        latent: Tensor,
        *,
        tiling: Tiling | None = None,
        noise: DecoderNoise | Tensor | None = None,
        repeat_columns: bool = False,
    ) -> Tensor:
        """latent (B, C, F, H', W'), normalised → video (B, 3, T, H, W), about -1..1, in the dtype of the latent.

        T = 8 (F - 1) + 1, H = 32 H', W = 32 W' with the published factors. See `decode_stream` for the arguments.
        """
        chunks = self.decode_stream(latent, tiling=tiling, noise=noise, repeat_columns=repeat_columns)
        shape = self._video_size(*latent.shape[2:])
        return join(chunks, latent.new_empty(latent.shape[0], self.config.out_channels, *shape))

    def decode_stream(
        self,
        latent: Tensor,
        *,
        tiling: Tiling | None = None,
        noise: DecoderNoise | Tensor | None = None,
        repeat_columns: bool = False,
    ) -> Iterator[Tensor]:
        """The video of `decode` as consecutive parts (B, 3, t, H, W), t >= 1: one a group of tiles in time.

        tiling: None for one piece; see `automatic_diffusion_tiling`. noise: a standard normal tensor of the shape
        `noise_shape`, or where numbers are drawn from: one draw a tile of the tile's shape if the network decodes in
        one step (as published), else one draw of the whole shape; seed 0 if None. repeat_columns: the published
        default mode for eager execution, which differs near the left and right border (section 9.4, slab mode).
        Raises ValueError for another number of channels, noise of another shape, and tiles that do not fit.
        """
        refuse_shape(latent, self.config.latent_channels, "latent")
        single_pass = self.config.steps == 1 and self.config.prediction == "x0"
        source = DecoderNoise() if noise is None else noise
        canvas = Canvas(self.noise_shape(latent), source, like=latent, draw_tiles=single_pass)
        return self._decode(latent, self._plans(latent, tiling or Tiling()), canvas, repeat_columns)

    def noise_shape(self, latent: Tensor) -> tuple[int, int, int, int, int]:
        """Shape of the noise for a latent: that of its video, after small latents are padded (section 9.4, step 1)."""
        return latent.shape[0], self.config.out_channels, *self._video_size(*self._padded_size(latent))

    # --- from the latent to tiles ------------------------------------------------------------------------------------

    @torch.no_grad()
    def _decode(self, latent: Tensor, plans: Plans, canvas: Canvas, repeat_columns: bool) -> Iterator[Tensor]:
        padded, (top, left) = self._padded(latent)
        cells = self._first_stages(padded)

        def run(tile: Tile) -> Iterator[Tensor]:
            yield self._denoised(canvas.of(tile), self._context(cells, tile), repeat_columns)

        frames, height, width = self._video_size(*latent.shape[2:])
        for part in blend(plans, run):
            wanted = part[:, :, :frames, top : top + height, left : left + width]
            if wanted.shape[2]:
                yield wanted.to(latent.dtype)
            frames -= wanted.shape[2]
            del part, wanted  # not needed while the next part is made

    def _padded(self, latent: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """The latent on at least the smallest grid, and the pixels added above and to the left."""
        sizes = zip(latent.shape[2:], self._padded_size(latent), strict=True)
        frames, rows, columns = (padded - size for size, padded in sizes)
        top, left = rows // 2, columns // 2
        padding = left, columns - left, top, rows - top, 0, frames
        if any(padding):
            latent = F.pad(latent, padding, mode="replicate")
        return latent, (top * self.config.factors[1], left * self.config.factors[2])

    def _padded_size(self, latent: Tensor) -> Triple:
        sizes = zip(latent.shape[2:], self.config.smallest_latent, strict=True)
        frames, height, width = (max(size, least) for size, least in sizes)
        return frames, height, width

    def _plans(self, latent: Tensor, tiling: Tiling) -> Plans:
        _, rows, columns = self.config.strides_before(DETERMINISTIC_STAGES - 1)
        frames, height, width = self._padded_size(latent)
        return diffusion_plans(self.config, (self.config.cells_of(frames), height * rows, width * columns), tiling)

    def _first_stages(self, padded: Tensor) -> Tensor:
        """padded (B, C, F, H', W') → the input of stage 4 (B, T, H, W, C), ghost frames at the end."""
        ghost = padded[:, :, -1:].expand(-1, -1, self.config.ghost_frames, -1, -1)
        z = torch.cat([padded, ghost], dim=2).to(self._dtype)
        z = self.per_channel_statistics.un_normalize(z)
        x: Tensor = self.conv_in(rearrange(z, "b c t h w -> b t h w c"))
        for stage in range(DETERMINISTIC_STAGES - 1):
            x = self.upsamples[stage](self._deterministic(stage, x))
        return x

    def _context(self, cells: Tensor, tile: Tile) -> Raised:
        """Stage 4 of one tile. The tile at the end of the clip takes the ghost frames along and drops them after it."""
        frames, rows, columns = (slice(axis.source.start, axis.source.end) for axis in tile)
        ghost = self.config.ghost_frames * self.config.strides_before(DETERMINISTIC_STAGES - 1)[0]
        if frames.stop + ghost == cells.shape[1]:
            frames = slice(frames.start, None)
        # a copy: blocks work in place, and tiles overlap
        x = self._deterministic(DETERMINISTIC_STAGES - 1, cells[:, frames, rows, columns].clone())
        upsample = self.upsamples[DETERMINISTIC_STAGES - 1]
        assert isinstance(upsample, Upsample)
        return Raised(upsample, x, starts_clip=frames.start == 0, keep=tile.frames.mask.numel())

    def _deterministic(self, stage: int, x: Tensor) -> Tensor:
        blocks = self.det_stages[stage]
        assert isinstance(blocks, nn.ModuleList)
        for block in blocks:
            x = block(x)
        return x

    # --- stage 5 -----------------------------------------------------------------------------------------------------

    def _denoised(self, x: Tensor, context: Raised, repeat_columns: bool) -> Tensor:
        """x (B, 3, T, H, W) float32: noise, overwritten by the video."""
        steps = self.config.steps
        times = [*torch.linspace(1, 1 / steps, steps).tolist(), 0.0]
        for time, following in pairwise(times):
            h = self._hidden(x, context, time, repeat_columns)
            for start, stop in slabs(h.shape[1], h[:, 0].numel(), FRAMES_A_SLAB):
                out = self.conv_out(self.norm_out(h[:, start:stop]))
                prediction = unpatchify(rearrange(out, "b t h w c -> b c t h w"), self.config.patch_size)
                part = x[:, :, start:stop]
                part.copy_(self._stepped(part, prediction.float(), time, following))
        return x

    def _stepped(self, x: Tensor, prediction: Tensor, time: float, following: float) -> Tensor:
        """Euler step from `time` to `following`; the last one, to 0, ends on the predicted clip."""
        if self.config.prediction == "v":
            return x - (time - following) * prediction
        return prediction if following == 0 else x - (time - following) * ((x - prediction) / time)

    def _hidden(self, x: Tensor, context: Raised, time: float, repeat_columns: bool) -> Tensor:
        """Features (B, T, H/p, W/p, C) after the diffusion blocks."""
        timestep = torch.tensor(time * self.config.timestep_scale, dtype=torch.float32, device=x.device)
        modulation = self.shared_adaln(self.t_embedder(timestep, self._dtype))
        h = self._embedded(x)
        for block in self.diff_blocks:
            assert isinstance(block, DiffusionBlock)
            block.denoise(h, context, modulation, repeat_columns=repeat_columns)
        return h

    def _embedded(self, x: Tensor) -> Tensor:
        size = self.config.patch_size
        frames, height, width = x.shape[2], x.shape[3] // size, x.shape[4] // size
        h = x.new_empty(x.shape[0], frames, height, width, self.config.channels[-1], dtype=self._dtype)
        for start, stop in slabs(frames, h[:, 0].numel(), FRAMES_A_SLAB):
            patches = rearrange(patchify(x[:, :, start:stop].to(self._dtype), size), "b c t h w -> b t h w c")
            h[:, start:stop] = self.conv_in_x_t(patches)
        return h

    @property
    def _dtype(self) -> torch.dtype:
        return self.norm_out.weight.dtype

    def _video_size(self, frames: int, height: int, width: int) -> Triple:
        _, rows, columns = self.config.factors
        return self.config.frames_of(frames), height * rows, width * columns
