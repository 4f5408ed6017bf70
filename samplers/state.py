"""What is denoised: one state a stream, token-shaped (spec sampling.md section 2)."""

# B batch, T tokens (grid tokens, then appended ones), C features of a token
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class StreamState:
    """One stream of the latent that a stage denoises.

    latent     (B, T, C) current noisy tokens
    clean      (B, T, C) what masked tokens are pulled to
    mask       (B, T, 1) float32, 1 = generated, 0 = given; values between are allowed
    positions  (1 or B, axes, T, 2) float32, [start, end): seconds, pixels, pixels
    frozen     the whole stream is given: mask 0 and scalar sigma 0
    """

    latent: Tensor
    clean: Tensor
    mask: Tensor
    positions: Tensor
    frozen: bool = False


def fresh_state(tokens: Tensor, positions: Tensor, mask: Tensor | None = None) -> StreamState:
    """The state of a stage before noise: `tokens` (B, T, C) is both the start latent and the clean one."""
    if mask is None:
        mask = torch.ones(*tokens.shape[:2], 1, dtype=torch.float32, device=tokens.device)
    return StreamState(latent=tokens, clean=tokens, mask=mask, positions=positions)
