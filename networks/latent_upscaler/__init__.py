"""Latent upscalers: a video latent → one with more cells (x2, x1.5) or more frames (x2) (spec: latent_upscaler.md)."""

from __future__ import annotations

from .config import LatentUpscalerConfig
from .model import LatentUpscaler, upscale_latent

__all__ = ["LatentUpscaler", "LatentUpscalerConfig", "upscale_latent"]
