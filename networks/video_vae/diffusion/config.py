"""What the diffusion decoder of LTX-2.5 is built from, and the sizes that follow (spec page video_vae, section 9.1)."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod
from typing import Literal

Triple = tuple[int, int, int]  # frames, height, width
Prediction = Literal["x0", "v"]
PREDICTIONS: tuple[Prediction, ...] = ("x0", "v")
DETERMINISTIC_STAGES = 4


@dataclass(frozen=True, kw_only=True)
class Upsampling:
    """Growth of the grid, and what the number of channels is divided by."""

    stride: Triple
    reduction: int


@dataclass(frozen=True, kw_only=True)
class DiffusionDecoderConfig:
    """Five stages: four deterministic ones, each followed by an upsampling, and the one that predicts pixels."""

    latent_channels: int
    out_channels: int
    patch_size: int
    head_dim: int
    channels: tuple[int, ...]  # of the five stages
    depths: tuple[int, ...]
    kernels: tuple[Triple, ...]
    upsamplings: tuple[Upsampling, ...]
    time_channels: int
    timestep_scale: float
    steps: int
    prediction: Prediction

    def __post_init__(self) -> None:
        self._refuse_counts()
        self._refuse_widths()
        if self.steps < 1:
            raise ValueError(f"diffusion decoder: default_num_inference_steps must be at least 1, found {self.steps}")
        if self.frames_of(self.smallest_latent[0]) < self.kernels[-1][0]:
            raise ValueError(f"diffusion decoder: the smallest clip is shorter than stage5_kernel {self.kernels[-1]}")

    @property
    def factors(self) -> Triple:
        """Pixels a latent cell: (frames, height, width)."""
        frames, height, width = self.strides_before(DETERMINISTIC_STAGES)
        return frames, height * self.patch_size, width * self.patch_size

    @property
    def unit(self) -> Triple:
        """Pixels a cell of stage 4: the grain of tiles."""
        frames, height, width = self.upsamplings[-1].stride
        return frames, height * self.patch_size, width * self.patch_size

    @property
    def context_channels(self) -> int:
        return self.channels[DETERMINISTIC_STAGES - 1] // self.upsamplings[-1].reduction

    def strides_before(self, stage: int) -> Triple:
        """Cells of stage `stage` (0 to 4) a latent cell."""
        strides = [upsampling.stride for upsampling in self.upsamplings[:stage]]
        frames, height, width = (prod(stride[axis] for stride in strides) for axis in range(3))
        return frames, height, width

    @property
    def smallest_latent(self) -> Triple:
        """Smallest grid on which every window fits (section 9.4, step 1)."""
        needs = [
            [ceil(kernel / stride) for kernel, stride in zip(kernels, self.strides_before(stage), strict=True)]
            for stage, kernels in enumerate(self.kernels)
        ]
        frames, height, width = (max(column) for column in zip(*needs, strict=True))
        return frames, height, width

    @property
    def ghost_frames(self) -> int:
        """Copies of the last latent frame that keep the shifted windows of stage 1 away from real frames."""
        return self.kernels[0][0] // 2 * 2

    def cells_of(self, latent_frames: int) -> int:
        """Frames of the input of stage 4: every doubling drops the first one."""
        cells = latent_frames
        for upsampling in self.upsamplings[: DETERMINISTIC_STAGES - 1]:
            cells = upsampling.stride[0] * cells - (upsampling.stride[0] - 1)
        return cells

    def frames_of(self, latent_frames: int) -> int:
        """Video frames of a clip."""
        return self.factors[0] * (latent_frames - 1) + 1

    def _refuse_counts(self) -> None:
        stages = DETERMINISTIC_STAGES
        found = [len(self.channels), len(self.depths), len(self.kernels), len(self.upsamplings)]
        if found != [stages + 1, stages + 1, stages + 1, stages]:
            raise ValueError(
                "diffusion decoder: expected five entries in stage_channels, stage_depths and stage_kernels and four "
                f"in upsamples, found {found}"
            )
        for upsampling in self.upsamplings:
            if upsampling.stride[0] not in (1, 2):
                raise ValueError(
                    f"diffusion decoder: an upsample multiplies frames by 1 or 2, found stride {upsampling.stride}"
                )

    def _refuse_widths(self) -> None:
        for index, (upsampling, width) in enumerate(zip(self.upsamplings, self.channels, strict=False)):
            following = self.channels[index + 1]
            if width % upsampling.reduction:
                raise ValueError(
                    f"diffusion decoder: {width} channels cannot be divided by the reduction {upsampling.reduction}"
                )
            if index + 1 < DETERMINISTIC_STAGES and width // upsampling.reduction != following:
                raise ValueError(
                    f"diffusion decoder: upsample {index} makes {width // upsampling.reduction} channels, "
                    f"the next stage has {following}"
                )
        for width in self.channels:
            if width % self.head_dim:
                raise ValueError(f"diffusion decoder: {width} channels are no multiple of head_dim {self.head_dim}")
