"""Durations and sizes: pixel frames, seconds, latent frames, audio frames, snapping (spec page sampling, section 1)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

import torch


@dataclass(frozen=True, kw_only=True)
class ScaleFactors:
    """Pixels and frames that one cell of the video latent stands for."""

    time: int = 8
    space: int = 32


@dataclass(frozen=True, kw_only=True)
class AudioRate:
    """How audio latent frames follow from samples."""

    sample_rate: int = 16000  # Hz
    hop: int = 160  # samples a mel frame
    factor: int = 4  # mel frames a latent frame

    @property
    def latents_per_second(self) -> float:
        return self.sample_rate / self.hop / self.factor


class VideoGrid(NamedTuple):
    """Size of a video latent in cells."""

    frames: int
    height: int
    width: int

    @property
    def tokens(self) -> int:
        return self.frames * self.height * self.width


SCALE = ScaleFactors()
AUDIO_RATE = AudioRate()


def scale_factors(block_names: Iterable[str], *, patch_size: int = 4) -> ScaleFactors:
    """Scale factors of the video VAE whose encoder (or decoder) has these blocks; the published ones without blocks."""
    names = list(block_names)
    if not names:
        return SCALE
    space = sum(name.startswith(("compress_space", "compress_all")) for name in names)
    time = sum(name.startswith(("compress_time", "compress_all")) for name in names)
    return ScaleFactors(time=2**time, space=patch_size * 2**space)


def snap_frames(frames: int, *, scale: ScaleFactors = SCALE) -> int:
    """The largest 8k+1 that is at most `frames`. ValueError below one frame."""
    if frames < 1:
        raise ValueError(f"frames: expected at least 1, found {frames}")
    return (frames - 1) // scale.time * scale.time + 1


def frames_from_seconds(
    seconds: float, fps: float, *, min_frames: int, max_frames: int, scale: ScaleFactors = SCALE
) -> int:
    """Pixel frames of a duration, within bounds and snapped down, or up where that falls below `min_frames`.

    The result is 8k+1 unless `max_frames` cuts it: a bound that is off the grid comes back as it is.
    """
    _check_fps(fps)
    if not 1 <= min_frames <= max_frames:
        raise ValueError(f"expected 1 <= min_frames <= max_frames, found {min_frames} and {max_frames}")
    snapped = snap_frames(min(max(round(seconds * fps), min_frames), max_frames), scale=scale)
    if snapped >= min_frames:
        return snapped
    return min(ceil((min_frames - 1) / scale.time) * scale.time + 1, max_frames)


def automatic_frames(seconds: float, fps: float, *, min_seconds: float = 1.0, max_seconds: float = 20.0) -> int:
    """`frames_from_seconds` with its bounds in seconds, as in the automatic duration of LTX-2.5."""
    _check_fps(fps)
    return frames_from_seconds(seconds, fps, min_frames=round(min_seconds * fps), max_frames=round(max_seconds * fps))


def latent_grid(frames: int, height: int, width: int, *, scale: ScaleFactors = SCALE) -> VideoGrid:
    """Cells of a video of `frames` x `height` x `width` pixels; what does not fill a cell is left out."""
    if frames < 1 or height < scale.space or width < scale.space:
        raise ValueError(
            f"expected at least 1 frame of {scale.space}x{scale.space} pixels, found {frames} of {width}x{height}"
        )
    return VideoGrid((frames - 1) // scale.time + 1, height // scale.space, width // scale.space)


def pixel_frames(latent_frames: int, *, scale: ScaleFactors = SCALE) -> int:
    """Pixel frames that `latent_frames` decode to."""
    if latent_frames < 1:
        raise ValueError(f"latent_frames: expected at least 1, found {latent_frames}")
    return (latent_frames - 1) * scale.time + 1


def snap_size(pixels: int, *, multiple: int = SCALE.space) -> int:
    """The largest multiple that fits into `pixels` (32 for one stage, 64 for two), but at least one."""
    if pixels < 1:
        raise ValueError(f"pixels: expected at least 1, found {pixels}")
    return max(pixels // multiple, 1) * multiple


def nearest_frames(frames: int, *, scale: ScaleFactors = SCALE) -> int:
    """The 8k+1 nearest to `frames`, at least 1; the larger of two equally near."""
    return max((frames - 1 + scale.time // 2) // scale.time, 0) * scale.time + 1


def nearest_size(pixels: int, *, multiple: int = SCALE.space) -> int:
    """The multiple nearest to `pixels`, at least one; the larger of two equally near."""
    return max((pixels + multiple // 2) // multiple, 1) * multiple


def audio_latent_frames(frames: int, fps: float, *, rate: AudioRate = AUDIO_RATE) -> int:
    """Audio latent frames (= tokens) that accompany `frames` pixel frames; rounds half to even."""
    _check_fps(fps)
    return round(frames / fps * rate.latents_per_second)


def even_keyframes(count: int, frames: int) -> list[int]:
    """`count` pixel frames, evenly spaced between (and without) the first and the last (spec page conditioning)."""
    if count < 1 or frames < count + 2:
        raise ValueError(f"expected 1 <= count <= frames - 2, found {count} keyframes in {frames} frames")
    spaced = torch.linspace(0, frames - 1, count + 2, dtype=torch.float32)  # float32 decides how ties round
    return [int(frame) for frame in spaced.round()[1:-1]]


def _check_fps(fps: float) -> None:
    if not 0 < fps < float("inf"):
        raise ValueError(f"fps: expected a positive number, found {fps}")
