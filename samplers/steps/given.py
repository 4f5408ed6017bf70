"""Given tokens, where a step rule has moved them: noise, or rounding."""

from __future__ import annotations

import torch
from torch import Tensor

from ..conversions import pull_to_clean
from ..state import StreamState
from ..streams import Streams


def pull(latents: Streams[Tensor], states: Streams[StreamState] | None) -> Streams[Tensor]:
    """latent * mask + clean * (1 - mask); without states all tokens are generated ones."""
    if states is None:
        return latents
    return latents.map(lambda x, state: pull_to_clean(x, state.clean, state.mask), states)


def restore(latents: Streams[Tensor], states: Streams[StreamState] | None) -> Streams[Tensor]:
    """Tokens with mask 0 as they were, to the bit; others, partly given ones too, untouched."""
    if states is None:
        return latents
    return latents.map(lambda x, state: torch.where(state.mask == 0, state.clean.to(x.dtype), x), states)
