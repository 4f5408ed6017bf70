"""How a result was made, step by step: it travels with the data, from the stages to the saver's run manifest.

On LATENT and AUDIO it is an entry of ours, on frames an attribute of the tensor. A node that makes new data (another
pack's, for instance) drops it; then the manifest names fewer steps, never wrong ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

import torch
from torch import Tensor

from ..model_loaders.lora.network import LoraUse
from ..model_loaders.parts import DiffusionModel
from ..model_loaders.placement import Placement
from ..networks.attention import backend_name
from ..samplers.streams import Streams
from .host.api import compute_device

MADE = "openltx_made"
Step = dict[str, Any]  # ready for JSON
Steps = tuple[Step, ...]


def made_of(data: Tensor | Mapping[str, Any] | None) -> Steps:
    """The steps that made a LATENT, an AUDIO or frames; none where nobody noted them."""
    if data is None:
        return ()
    found: Steps = data.get(MADE, ()) if isinstance(data, Mapping) else getattr(data, MADE, ())
    return found


def with_steps(frames: Tensor, steps: Steps) -> Tensor:
    """The same tensor, with its history."""
    setattr(frames, MADE, steps)
    return frames


def merged_steps(*histories: Steps) -> Steps:
    """All steps in order, those that several have (a common stage of picture and sound) once."""
    unique: list[Step] = []
    for step in (step for history in histories for step in history):
        if step not in unique:
            unique.append(step)
    return tuple(unique)


def stage_step(
    model: DiffusionModel,
    noise: object,
    rule: object,
    sigmas: Tensor,
    latent: Streams[Tensor],
    tiles: object,
    placement: Placement,
) -> Step:
    """What a stage ran with, and digests of its latents. Of noise and rule: all that their dataclasses hold.

    placement: where the plan put the weights; the last one, where memory ran out on the way.
    """
    return {
        "step": "sample",
        "model": model.path.name,
        "weights": model.weight_format,
        "dtype": str(model.transformer.dtype).removeprefix("torch."),
        "loras": [_lora(use) for use in model.loras],
        "device": compute_device().type,
        "attention": backend_name(),
        "noise": _settings(noise),
        "rule": _settings(rule),
        "sigmas": [float(sigma) for sigma in sigmas],
        "tiles": _settings(tiles),
        "placement": _settings(placement),
        "latent": {name: digest(value, 1) for name, value in vars(latent).items() if value is not None},
    }


def part_step(step: str, file: str, dtype: torch.dtype) -> Step:
    """A pass through a decoder or an upscaler."""
    return {"step": step, "model": file, "dtype": str(dtype).removeprefix("torch."), "device": compute_device().type}


def digest(values: Tensor | None, step: int) -> dict[str, Any] | None:
    """Shape, and SHA-256 over the float32 bytes of every `step`-th row: any change of a run shows there, too."""
    if values is None:
        return None
    sha256 = hashlib.sha256()
    for entry in values:
        sha256.update(entry[::step].float().contiguous().cpu().numpy().tobytes())
    return {"shape": list(values.shape), "sha256": sha256.hexdigest()}


def _lora(use: LoraUse) -> dict[str, Any]:
    return {"file": use.lora.file.path.name, "strengths": asdict(use.strengths)}


def _settings(value: object) -> dict[str, Any]:
    own = asdict(value) if is_dataclass(value) and not isinstance(value, type) else {}
    plain: dict[str, Any] = json.loads(json.dumps(own, default=lambda part: type(part).__name__))
    return {"kind": type(value).__name__, **plain}
