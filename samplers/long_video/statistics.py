"""Means and deviations of latents, against clips that grow paler or harsher (spec pipelines.md sections 16 and 18)."""

# B batch, C channels, F H W latent frames, rows, columns; an audio latent is (B, C, T, bins)
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a latent is normalised to.

    percentile: share of each channel's values, from the middle, that its mean and deviation are taken from; 100: all.
    clip_outliers: values beyond that share are first moved to its ends.
    """

    mean: float = 0.0
    std: float = 1.0
    percentile: float = 95.0
    clip_outliers: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.percentile <= 100:
            raise ValueError(f"percentile: expected a number above 0 and up to 100, found {self.percentile:g}")
        if not self.std > 0:
            raise ValueError(f"std: expected a positive number, found {self.std:g}")


def transfer_statistics(latent: Tensor, reference: Tensor, factor: float, *, per_frame: bool = False) -> Tensor:
    """`latent` on its way to the mean and the unbiased deviation of `reference`, per sample and channel (AdaIN).

    Both (B, C, F, H, W), of any number of frames, or (B, C, T, bins); factor 0: unchanged, 1: all the way.
    per_frame: of each frame by itself; both must then have equally many. A channel without deviation only moves.
    """
    _check_factor(factor)
    if per_frame and latent.shape[2] != reference.shape[2]:
        raise ValueError(
            f"statistics: expected a reference of {latent.shape[2]} frames, found {reference.shape[2]}; cut it to size"
        )
    axes = tuple(range(3 if per_frame else 2, latent.ndim))
    mean, std = latent.mean(axes, keepdim=True), latent.std(axes, keepdim=True)
    goal_mean, goal_std = reference.mean(axes, keepdim=True), reference.std(axes, keepdim=True)
    scale = torch.where(std > 0, 1 / std, 0.0)
    return torch.lerp(latent, (latent - mean) * scale * goal_std + goal_mean, factor)


def normalise_statistics(latent: Tensor, target: Target, factor: float) -> Tensor:
    """`latent` (B, C, …) on its way to a target mean and deviation, per sample and channel; factor as above."""
    _check_factor(factor)
    values = latent.flatten(2)  # B C values
    margin = (1 - target.percentile / 100) / 2
    ends = values.new_tensor([margin, 1 - margin])
    low, high = torch.quantile(values, ends, dim=-1, keepdim=True)
    inside = ((values >= low) & (values <= high)).to(values)
    count = inside.sum(-1, keepdim=True)
    mean = (values * inside).sum(-1, keepdim=True) / count
    std = (((values - mean).square() * inside).sum(-1, keepdim=True) / (count - 1)).sqrt()
    clipped = values.clamp(low, high) if target.clip_outliers else values
    scale = torch.where(std > 0, 1 / std, 0.0)
    normal = (clipped - mean) * scale * target.std + target.mean
    return torch.lerp(values, normal, factor).reshape(latent.shape)


def _check_factor(factor: float) -> None:
    if not 0 <= factor <= 1:
        raise ValueError(f"statistics: expected a factor from 0 (off) to 1, found {factor:g}")
