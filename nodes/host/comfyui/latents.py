"""ComfyUI's description of our latents, with previews (comfyui_host.md 3.4)."""

from __future__ import annotations

from collections.abc import Sequence

import comfy.latent_formats
import torch
from torch import Tensor

from ....model_loaders.checkpoint import CheckpointError
from ....model_loaders.parts import open_video
from ....samplers.preview import LinearMap
from ....samplers.shapes import SCALE
from ...preview import colours_of
from .conditions import unpack


class LatentFormat(comfy.latent_formats.LatentFormat):  # type: ignore[misc]  # ComfyUI is absent when types are checked
    """Latents at the scale of the VAE: nothing to scale. Per-channel normalisation is the VAE's."""

    latent_dimensions = 3
    spacial_downscale_ratio, temporal_downscale_ratio = SCALE.space, SCALE.time

    def __init__(self, channels: int, path: str) -> None:
        """path: the model's file, whose video VAE, if there is one, gives the colours of previews."""
        self.latent_channels = channels
        self.shapes: Sequence[Sequence[int]] = ()  # of the run that is under way
        self._path, self._asked = path, False
        self._colours: LinearMap | None = None

    @property
    def latent_rgb_factors(self) -> list[list[float]] | None:
        """Channel → colour in -1 … 1. Fitted when a preview is first asked for; None without a VAE in the file."""
        colours = self._fitted()
        return None if colours is None else (2 * colours.weights).tolist()

    @property
    def latent_rgb_factors_bias(self) -> list[float] | None:
        colours = self._fitted()
        return None if colours is None else (2 * colours.offset - 1).tolist()

    def latent_rgb_factors_reshape(self, x0: Tensor) -> Tensor:
        """The video (B, C, F, H, W) of what a sampler shows: packed, or already the video."""
        return unpack(x0, self.shapes)[0] if x0.ndim == 3 and len(self.shapes) > 1 else x0

    def _fitted(self) -> LinearMap | None:
        if not self._asked:
            self._asked = True
            try:
                part = open_video(self._path, dtype=torch.float32)
            except CheckpointError:  # a transformer in a file of its own: no preview
                return None
            self._colours = colours_of(part, self.latent_channels)
        return self._colours
