"""Vocoding of long audio in pieces that give the same waveform."""

# B batch, M mel frames, F mel bins, N samples
from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from .bandwidth_extension import BandwidthExtensionVocoder
from .generator import Generator

Vocoder = Generator | BandwidthExtensionVocoder

CHUNK_FRAMES = 1000  # 10 s


def vocode(vocoder: Vocoder, mel: Tensor, *, chunk_frames: int = CHUNK_FRAMES) -> Tensor:
    """`vocoder(mel)` with memory that does not grow with the length; mel (B, 2, M, 64) → waveform (B, 2, N) float32.

    A vocoder is a stack of convolutions, so a piece with `context_frames` more on either side sees all that it depends
    on: the same waveform but for rounding (of the size of float32's own error; the logarithm between the two stages of
    2.3 and 2.5 enlarges both). A second of audio needs 25 MB (2) or 50 MB (2.3, 2.5) of activations at full size.
    Raises ValueError for a chunk_frames below 1 and for a mel of another shape.
    """
    if mel.ndim != 4:
        whole: Tensor = vocoder(mel)
        return whole
    return torch.cat(list(vocode_pieces(vocoder, mel, chunk_frames=chunk_frames)), dim=-1)


def vocode_pieces(vocoder: Vocoder, mel: Tensor, *, chunk_frames: int = CHUNK_FRAMES) -> Iterator[Tensor]:
    """The waveform of `vocode` in order, each piece (B, 2, chunk_frames · samples_per_frame), the last one shorter.

    A mel frame lasts 10 ms. Raises ValueError for a chunk_frames below 1.
    """
    if chunk_frames < 1:
        raise ValueError(f"expected chunk_frames of at least 1, found {chunk_frames}")
    total, scale = mel.shape[2], vocoder.samples_per_frame
    for start in range(0, total, chunk_frames):
        stop = min(start + chunk_frames, total)
        first = max(0, start - vocoder.context_frames)
        first -= first % vocoder.frame_alignment
        last = min(stop + vocoder.context_frames, total)
        waveform: Tensor = vocoder(mel[:, :, first:last])
        yield waveform[..., (start - first) * scale : (stop - first) * scale]
