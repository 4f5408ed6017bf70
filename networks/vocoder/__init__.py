"""Vocoders: log-mel → stereo waveform; float32 throughout (spec: audio.md sections 6 to 8)."""

from __future__ import annotations

from .bandwidth_extension import BandwidthExtensionVocoder
from .chunks import Vocoder, vocode, vocode_pieces
from .config import BandwidthExtensionConfig, GeneratorConfig
from .generator import Generator

__all__ = [
    "BandwidthExtensionConfig",
    "BandwidthExtensionVocoder",
    "Generator",
    "GeneratorConfig",
    "Vocoder",
    "vocode",
    "vocode_pieces",
]
