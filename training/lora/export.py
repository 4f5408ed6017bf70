"""Adapters -> a LoRA file in the published layout (spec page quantization, section 8.1).

`diffusion_model.LAYER.lora_A.weight` (r, K) and `.lora_B.weight` (N, r), no alpha: its factor goes into lora_B.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from ...media.targets import whole_file
from ...model_loaders.lora.file import LoraReport, open_lora
from ...model_loaders.lora.keys import PREFIXES
from ...package_version import version
from ...samplers.conditioning.reference import SPACE_KEY, TIME_KEY
from .adapters import Adapters
from .config import LoraConfig

PREFIX = PREFIXES[0]


def export_lora(adapters: Adapters, config: LoraConfig, path: Path, *, step: int) -> Path:
    """Write the file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as beside:
        save_file(lora_tensors(adapters, getattr(torch, config.lora.save_as)), beside, lora_metadata(config, step))
    return path


def lora_tensors(adapters: Adapters, dtype: torch.dtype) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, layer in adapters.layers.items():
        tensors[f"{PREFIX}{name}.lora_A.weight"] = layer.down.detach().to("cpu", dtype).contiguous()
        tensors[f"{PREFIX}{name}.lora_B.weight"] = (layer.up.detach() * layer.scale).to("cpu", dtype).contiguous()
    return tensors


def lora_metadata(config: LoraConfig, step: int) -> dict[str, str]:
    """What readers of IC-LoRAs need, and how it was made."""
    made = {
        "format": "pt",
        "base_model": config.model.checkpoint.name,
        "openltx_version": version(),
        "openltx_strategy": config.lora.strategy,
        "openltx_steps": str(step),
    }
    if config.lora.strategy != "v2v":
        return made
    factors = config.lora.factors
    return {**made, SPACE_KEY: str(factors.space), TIME_KEY: str(factors.time)}


def checked_lora(path: Path, adapters: Adapters, *, generation: str) -> LoraReport:
    """The file as our loader reads it: it must change exactly the layers that were trained."""
    lora = open_lora(path)
    matched = lora.match([f"{name}.weight" for name in adapters.layers], generation=generation)
    assert set(matched.layers) == set(adapters.layers), "an exported layer is not read back"
    assert not matched.ignored, f"exported keys that nothing reads: {matched.ignored[:3]}"
    return lora.report(matched)
