"""Entry points of the audio area: waveform → latent and latent → waveform (audio.md sections 3.1 and 10)."""

# B batch, S channels, N samples, C latent channels, T latent frames, f latent bins
from __future__ import annotations

from collections.abc import Iterator

import torch
from einops import reduce
from torch import Tensor

from ..vocoder import Vocoder, vocode_pieces
from ..vocoder.chunks import CHUNK_FRAMES as MEL_CHUNK
from .decoder import CHUNK_FRAMES, AudioDecoder, decode_mel
from .encoder import AudioEncoder
from .mel import log_mel
from .resample import resample

SURROUND = 0.707  # weight of the centre, side and back channels against left and right


def encode_audio(encoder: AudioEncoder, waveform: Tensor, sampling_rate: int) -> Tensor:
    """waveform (B, S, N) at any rate in Hz → normalised latent (B, C, T, f) float32.

    A clip of exactly T / 25 s gives T + 1 latent frames: cut it with `conform_latent`.
    Raises ValueError for another number of axes and for a clip under 33 ms.
    """
    config = encoder.config
    stereo = resample(to_stereo(waveform.to(torch.float32)), sampling_rate, config.sampling_rate)
    mel = log_mel(
        stereo,
        sampling_rate=config.sampling_rate,
        n_fft=config.n_fft,
        hop_length=config.hop_length,
        mel_bins=config.mel_bins,
    )
    latent: Tensor = encoder(mel)
    return latent


def decode_audio(
    decoder: AudioDecoder, vocoder: Vocoder, latent: Tensor, *, chunk: int | None = None
) -> tuple[Tensor, int]:
    """Normalised latent (B, C, T, f) → waveform (B, 2, N) float32 in [−1, 1], and its rate in Hz.

    N is 10 ms for each of the 4T−3 mel frames. Memory does not grow with T beyond the waveform itself. chunk: latent
    frames (25 a second) at a time; None: as many as are fast. A chunk's neighbours are computed again.
    """
    pieces = list(decode_audio_pieces(decoder, vocoder, latent, chunk=chunk))
    return torch.cat(pieces, dim=-1), vocoder.output_sampling_rate


def decode_audio_pieces(
    decoder: AudioDecoder, vocoder: Vocoder, latent: Tensor, *, chunk: int | None = None
) -> Iterator[Tensor]:
    """The waveform of `decode_audio` in order, in pieces (B, 2, n); only the log-mel, 51 KB a second, is held whole."""
    frames, mel_frames = (CHUNK_FRAMES, MEL_CHUNK) if chunk is None else (chunk, 4 * chunk)
    mel = decode_mel(decoder, latent.to(torch.float32), chunk_frames=frames)
    return vocode_pieces(vocoder, mel, chunk_frames=mel_frames)


def to_stereo(waveform: Tensor) -> Tensor:
    """(B, S, N) → (B, 2, N): mono is copied, 5.1 and 7.1 are mixed down, other counts averaged.

    6 channels are L, R, C, LFE, Ls, Rs; 8 add Lb, Rb; the LFE is left out. Raises ValueError for other than 3 axes
    and for no channel.
    """
    if waveform.ndim != 3 or not waveform.shape[1]:
        raise ValueError(f"expected a waveform (B, channels, samples), found shape {tuple(waveform.shape)}")
    channels = waveform.shape[1]
    if channels == 2:
        return waveform
    if channels not in (6, 8):
        return waveform.mean(dim=1, keepdim=True).expand(-1, 2, -1)
    centre = waveform[:, 2:3]
    sides = reduce(waveform[:, 4:], "b (pair side) n -> b side n", "sum", side=2)
    gain = 1 + SURROUND * (channels // 2 - 1)
    mixed: Tensor = (waveform[:, :2] + SURROUND * (centre + sides)) / gain
    return mixed
