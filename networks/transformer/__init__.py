"""The audio-video diffusion transformer."""

from __future__ import annotations

from .config import RopeConfig, StreamConfig, TransformerConfig
from .inputs import Stream
from .model import Transformer
from .perturbations import Perturbation, PerturbationType, SamplePerturbations
from .state import Call, Prepared

__all__ = [
    "Call",
    "Perturbation",
    "PerturbationType",
    "Prepared",
    "RopeConfig",
    "SamplePerturbations",
    "Stream",
    "StreamConfig",
    "Transformer",
    "TransformerConfig",
]
