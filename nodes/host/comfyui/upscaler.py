"""LATENT_UPSCALE_MODEL in ComfyUI: our upscaler for its LTXVLatentUpsampler."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ....model_loaders.parts import Lazy, UpscalerPart
from ....networks.latent_upscaler import LatentUpscaler


class NativeUpscaler(nn.Module):
    """Called with latents in the VAE's own units, as ComfyUI's own network is."""

    def __init__(self, part: UpscalerPart) -> None:
        super().__init__()
        self.part = part
        self.network = part.network.source().to(part.network.dtype).eval().requires_grad_(False)

    def forward(self, latent: Tensor) -> Tensor:
        """(B, C, F, H, W) → the same with more cells or frames."""
        upscaled: Tensor = self.network(latent)
        return upscaled


class InUpscaler(Lazy[LatentUpscaler]):
    """The network of an upscaler object, for our own node. ComfyUI manages no memory for these."""

    def __init__(self, lazy: Lazy[LatentUpscaler], upscaler: NativeUpscaler) -> None:
        super().__init__(lazy.source, lazy.dtype)
        self._upscaler = upscaler

    def on(self, device: torch.device, *, memory: int = 0) -> LatentUpscaler:
        return self._upscaler.network.to(device)


def native_upscaler(part: UpscalerPart) -> NativeUpscaler:
    """A part → LATENT_UPSCALE_MODEL."""
    return NativeUpscaler(part)


def own_upscaler(upscaler: Any, name: str) -> UpscalerPart:
    """A LATENT_UPSCALE_MODEL → our part; ValueError for one that is not ours."""
    if not isinstance(upscaler, NativeUpscaler):
        found = type(getattr(upscaler, "model", upscaler)).__name__
        raise ValueError(
            f"{name}: expected an upscaler from Load Upscaler (LTX), found ComfyUI's {found}; load its file with our "
            "node, or use LTXVLatentUpsampler"
        )
    return replace(upscaler.part, network=InUpscaler(upscaler.part.network, upscaler))
