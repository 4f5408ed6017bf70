"""Causal log-mel of the first-stage waveform, with the bases of the file (audio.md section 8.3, step 3)."""

# B batch, S channels, N samples, M frames, K frequency bins, F mel bins
from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

LOG_FLOOR = 1e-5


class CausalMelSTFT(nn.Module):
    """State dict: `mel_basis`, `stft_fn.forward_basis` and the never used `stft_fn.inverse_basis`."""

    def __init__(self, *, n_fft: int, hop_length: int, mel_bins: int) -> None:
        super().__init__()
        self.hop_length = hop_length
        self.register_buffer("mel_basis", torch.empty(mel_bins, n_fft // 2 + 1))
        self.stft_fn = Bases(n_fft)

    def forward(self, waveform: Tensor) -> Tensor:
        """waveform (B, S, N), N a multiple of hop_length. Returns (B, S, N / hop_length, F)."""
        return causal_log_mel(waveform, self.stft_fn.forward_basis, self.get_buffer("mel_basis"), self.hop_length)


class Bases(nn.Module):
    """Windowed Fourier bases: rows 0…K−1 real, the others imaginary."""

    forward_basis: Tensor

    def __init__(self, n_fft: int) -> None:
        super().__init__()
        rows = 2 * (n_fft // 2 + 1)
        self.register_buffer("forward_basis", torch.empty(rows, 1, n_fft))
        self.register_buffer("inverse_basis", torch.empty(rows, 1, n_fft))


def causal_log_mel(waveform: Tensor, forward_basis: Tensor, mel_basis: Tensor, hop_length: int) -> Tensor:
    """Frames that end at multiples of hop_length and see only the past; natural logarithm, floor 1e-5.

    waveform (B, S, N); forward_basis (2K, 1, n_fft); mel_basis (F, K). Returns (B, S, N / hop_length, F).
    """
    past = forward_basis.shape[-1] - hop_length
    lines = F.pad(rearrange(waveform, "b s n -> (b s) 1 n"), (past, 0))
    real, imaginary = F.conv1d(lines, forward_basis.to(waveform), stride=hop_length).chunk(2, dim=1)
    magnitude = torch.sqrt(real.square() + imaginary.square())
    mel = (mel_basis.to(waveform) @ magnitude).clamp(min=LOG_FLOOR).log()
    return rearrange(mel, "(b s) f m -> b s m f", b=waveform.shape[0])
