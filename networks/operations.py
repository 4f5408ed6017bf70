"""The namespace from which every network takes its layers.

A host replaces it with layers of its own (ComfyUI: layers that stay offloaded and are cast at use; ours: layers
with quantised weights), so networks write `operations.Linear(...)` and never `nn.Linear(...)`.
Only the layers named here exist in every host. Parameters that belong to no layer (modulation tables, learned
registers) and buffers are not moved by a host: cast them where they are used (`table.to(x)`).
"""

from __future__ import annotations

from typing import Any, Protocol, cast

from torch import nn


class Operations(Protocol):
    """Layer classes with the constructors of `torch.nn`; `torch.nn` itself is the default implementation."""

    @property
    def Linear(self) -> type[nn.Linear]: ...  # noqa: N802
    @property
    def Conv1d(self) -> type[nn.Conv1d]: ...  # noqa: N802
    @property
    def Conv2d(self) -> type[nn.Conv2d]: ...  # noqa: N802
    @property
    def Conv3d(self) -> type[nn.Conv3d]: ...  # noqa: N802
    @property
    def ConvTranspose1d(self) -> type[nn.ConvTranspose1d]: ...  # noqa: N802
    @property
    def GroupNorm(self) -> type[nn.GroupNorm]: ...  # noqa: N802
    @property
    def LayerNorm(self) -> type[nn.LayerNorm]: ...  # noqa: N802
    @property
    def RMSNorm(self) -> type[nn.RMSNorm]: ...  # noqa: N802
    @property
    def Embedding(self) -> type[nn.Embedding]: ...  # noqa: N802


torch_operations: Operations = cast(Any, nn)
