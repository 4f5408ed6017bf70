"""Audio VAE: waveform → log-mel → latent and latent → log-mel; float32 throughout (spec: audio.md)."""

from __future__ import annotations

from .config import AudioVAEConfig
from .decoder import AudioDecoder, decode_mel
from .encoder import AudioEncoder
from .latents import (
    PerChannelStatistics,
    conform_latent,
    mel_frames,
    patchify,
    waveform_samples,
)
from .mel import log_mel
from .resample import resample
from .waveform import decode_audio, decode_audio_pieces, encode_audio, to_stereo

__all__ = [
    "AudioDecoder",
    "AudioEncoder",
    "AudioVAEConfig",
    "PerChannelStatistics",
    "conform_latent",
    "decode_audio",
    "decode_audio_pieces",
    "decode_mel",
    "encode_audio",
    "log_mel",
    "mel_frames",
    "patchify",
    "resample",
    "to_stereo",
    "waveform_samples",
]
