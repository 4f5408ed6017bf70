"""The blocks of a network as the stages through which a clip is streamed."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from .resample import DepthToSpace
from .residual import ResX
from .streaming import Stage


def stages_of(blocks: Iterable[nn.Module]) -> list[Stage]:
    """Each residual block of a `res_x` is a stage of its own: the input of the first is not held while others run."""
    stages: list[Stage] = []
    for block in blocks:
        if isinstance(block, ResX):
            stages.extend(Stage(layer) for layer in block.layers())
        elif isinstance(block, DepthToSpace):
            stages.append(Stage(block, block.growth))
        else:
            stages.append(Stage(block))
    return stages
