"""The namespace: our Linear, everything else as in torch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from torch import nn

from ...networks.operations import Operations
from .linear import StoredLinear

UNCHANGED = ("Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "GroupNorm", "LayerNorm", "RMSNorm", "Embedding")

stored_operations: Operations = cast(
    Any, SimpleNamespace(Linear=StoredLinear, **{name: getattr(nn, name) for name in UNCHANGED})
)
