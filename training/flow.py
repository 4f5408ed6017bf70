"""The loss of a rectified flow (spec page embedded_model, section 7)."""

# B batch, N tokens, C features
from __future__ import annotations

from torch import Tensor


def flow_error(velocity: Tensor | None, target: Tensor, mask: Tensor) -> Tensor:
    """Mean squared error of the velocity (B, N, C) over the tokens that are generated, in float32.

    target: noise - clean; mask (B or 1, N, 1), 1 = generated.
    """
    assert velocity is not None
    square = (velocity.float() - target).square() * mask
    return square.sum() / mask.expand_as(square).sum().clamp(min=1)
