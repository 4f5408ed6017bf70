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
    """The waveform of `vocode` in order, in pieces (B, 2, n · samples_per_frame) with n <= chunk_frames.

    A mel frame lasts 10 ms. Raises ValueError for a chunk_frames below 1.
    """
    total, scale, align = mel.shape[2], vocoder.samples_per_frame, vocoder.frame_alignment
    step, context = even_step(total, chunk_frames), vocoder.context_frames
    # windows of one size: kernels are made, and kept, for each size that is met
    window = min(step + 2 * context + align - 1, total)
    for start in range(0, total, step):
        stop = min(start + step, total)
        first = min(max(0, start - context), total - window)
        first -= first % align
        last = min(max(first + window, stop + context), total)
        waveform: Tensor = vocoder(mel[:, :, first:last])
        yield waveform[..., (start - first) * scale : (stop - first) * scale].clone()  # a view would hold the window


def even_step(total: int, most: int) -> int:
    """How long pieces are when `total` frames are cut into as few as may be, about alike, of at most `most` each.

    Raises ValueError for a `most` below 1.
    """
    if most < 1:
        raise ValueError(f"expected chunk_frames of at least 1, found {most}")
    return max(1, -(-total // max(1, -(-total // most))))
