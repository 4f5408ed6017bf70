"""Pictures and clips at any frame, as appended tokens (spec conditioning.md sections 3 and 9)."""

# n appended tokens
from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..shapes import VideoGrid
from ..state import StreamState, VideoLayout
from ..tokens import in_seconds, video_pixel_bounds
from .append import append_tokens, check_strength, video_content, video_layout


@dataclass(frozen=True, kw_only=True, eq=False)
class Keyframe:
    """A picture, or a clip, at pixel frame `frame` of the clip, counted from 0.

    latent (1 or B, C, f, H, W); pixel_frames: how many pixel frames it stands for. With the default 1 each of its
    latent frames stands for a single picture; 8 f for a clip in the middle of a video, 8 (f - 1) + 1 at its start.
    strength: 1 keeps its tokens exactly; attention: how strongly they and the grid see each other, a number or token
    weights from `mask_strength`.
    """

    latent: Tensor
    frame: int
    strength: float = 1.0
    pixel_frames: int = 1
    attention: float | Tensor = 1.0

    def frames(self, layout: VideoLayout) -> range:
        """The pixel frames that it binds to; ValueError if they reach beyond the clip."""
        step, count = layout.scale.time, self.latent.shape[2]
        if self.pixel_frames == 1:
            bound = range(self.frame, self.frame + (count - 1) * step + 1, step if count > 1 else 1)
        elif self.frame == 0:
            bound = range((count - 1) * step + 1)
        else:
            bound = range(self.frame, self.frame + count * step)
        if self.frame < 0 or bound[-1] >= layout.frames:
            found = f"{bound[0]}" if len(bound) == 1 else f"{bound[0]} to {bound[-1]}"
            raise ValueError(
                f"keyframe: expected frames from 0 to {layout.frames - 1}, found {found}; move it into the clip or "
                "make the clip longer"
            )
        return bound

    def apply(self, state: StreamState) -> StreamState:
        check_strength("keyframe", self.strength)
        layout = video_layout("keyframe", state)
        content = video_content("keyframe", self.latent, state)
        self.frames(layout)
        bounds = clip_bounds(
            VideoGrid(*self.latent.shape[2:]),
            self.frame,
            layout,
            first_frame=self.frame == 0,
            still=self.pixel_frames == 1,
        )
        positions = in_seconds(bounds, layout.fps)
        return append_tokens(state, content, positions, mask=1 - self.strength, attention=self.attention)


@dataclass(frozen=True, kw_only=True, eq=False)
class LatentGuide:
    """A latent of another run as context, by latent index; for long video (spec conditioning.md section 9).

    latent (1 or B, C, g, h, w), a whole number of times smaller than the grid; latent_index: may be negative, for
    context before the clip; whole_cells: a smaller guide's tokens end where the larger cell ends (as IC-LoRA guide
    nodes do), else one grid cell after their start.
    """

    latent: Tensor
    latent_index: int
    strength: float = 1.0
    whole_cells: bool = True
    attention: float | Tensor = 1.0

    def frame(self, layout: VideoLayout) -> int:
        """The pixel frame of its start."""
        step = layout.scale.time
        return self.latent_index * step if self.latent_index <= 0 else (self.latent_index - 1) * step + 1

    def apply(self, state: StreamState) -> StreamState:
        check_strength("guide", self.strength)
        layout = video_layout("guide", state)
        grid = VideoGrid(*self.latent.shape[2:])
        ratio = max(layout.grid.height // max(grid.height, 1), 1)
        content = video_content("guide", self.latent, state, ratio=ratio)
        frame = self.frame(layout)
        bounds = clip_bounds(grid, frame, layout, first_frame=frame == 0, still=grid.frames == 1)
        bounds[:, 1:] *= ratio
        if not self.whole_cells:
            bounds[:, 1:, :, 1] = bounds[:, 1:, :, 0] + layout.scale.space
        positions = in_seconds(bounds, layout.fps)
        return append_tokens(state, content, positions, mask=1 - self.strength, attention=self.attention)


def clip_bounds(grid: VideoGrid, frame: int, layout: VideoLayout, *, first_frame: bool, still: bool) -> Tensor:
    """[start, end) in frames, rows and columns of pixels, int64 (1, 3, n, 2), of a clip that begins at `frame`.

    first_frame: its first latent frame stands for one picture; still: every latent frame does.
    """
    bounds = video_pixel_bounds(grid, scale=layout.scale, causal=first_frame)
    bounds[:, 0] += frame
    if still:
        bounds[:, 0, :, 1] = bounds[:, 0, :, 0] + 1
    return bounds
