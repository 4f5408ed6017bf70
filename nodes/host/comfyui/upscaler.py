"""LATENT_UPSCALE_MODEL in ComfyUI: our upscaler for its LTXVLatentUpsampler."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import comfy.model_management
import comfy.model_patcher
import torch
from torch import Tensor, nn

from ....model_loaders.parts import Lazy, UpscalerPart
from ....networks.latent_upscaler import LatentUpscaler


class UpscalerStage(nn.Module):
    """Called with latents in the VAE's own units, as ComfyUI's own network is."""

    def __init__(self, part: UpscalerPart) -> None:
        super().__init__()
        self.part = part
        self.network = part.network.source().to(part.network.dtype).eval().requires_grad_(False)

    def forward(self, latent: Tensor) -> Tensor:
        """(B, C, F, H, W) → the same with more cells or frames."""
        upscaled: Tensor = self.network(latent)
        return upscaled

    def get_dtype(self) -> torch.dtype:
        """Of the latents that it takes."""
        return self.part.network.dtype


class NativeUpscaler(comfy.model_patcher.ModelPatcher):  # type: ignore[misc]  # ComfyUI is absent when types are checked
    """A ModelPatcher, which ComfyUI has expected here since 0.29, that is also the module that it expected before."""

    def __call__(self, latent: Tensor) -> Tensor:
        upscaled: Tensor = self.model(latent)
        return upscaled

    def parameters(self) -> Iterator[nn.Parameter]:
        return iter(self.model.parameters())

    def state_dict(self) -> dict[str, Any]:
        return dict(self.model.state_dict())

    def to(self, device: torch.device) -> NativeUpscaler:
        self.model.to(device)
        return self

    def cpu(self) -> NativeUpscaler:
        return self.to(torch.device("cpu"))


class InUpscaler(Lazy[LatentUpscaler]):
    """The network of an upscaler object, for our own node."""

    paged = True

    def __init__(self, lazy: Lazy[LatentUpscaler], upscaler: NativeUpscaler) -> None:
        super().__init__(lazy.source, lazy.dtype)
        self._upscaler = upscaler

    def on(self, device: torch.device, *, memory: int = 0) -> LatentUpscaler:
        comfy.model_management.load_models_gpu([self._upscaler], memory_required=memory, force_full_load=True)
        network: LatentUpscaler = self._upscaler.model.network
        return network


def native_upscaler(part: UpscalerPart) -> NativeUpscaler:
    """A part → LATENT_UPSCALE_MODEL. Its layers are torch's own, which ComfyUI cannot page: not the paging kind."""
    manager, stage = comfy.model_management, UpscalerStage(part)
    manager.archive_model_dtypes(stage)
    offload = manager.unet_offload_device()
    return NativeUpscaler(stage, load_device=manager.get_torch_device(), offload_device=offload)


def own_upscaler(upscaler: Any, name: str) -> UpscalerPart:
    """A LATENT_UPSCALE_MODEL → our part; ValueError for one that is not ours."""
    if not isinstance(upscaler, NativeUpscaler):
        found = type(getattr(upscaler, "model", upscaler)).__name__
        raise ValueError(
            f"{name}: expected an upscaler from Load Upscaler (LTX), found ComfyUI's {found}; load its file with our "
            "node, or use LTXVLatentUpsampler"
        )
    part: UpscalerPart = upscaler.model.part
    return replace(part, network=InUpscaler(part.network, upscaler))
