"""Parts of blocks that are skipped for some samples: STG and modality isolation (spec page transformer, section 9)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

PerturbationType = Literal["skip_video_self_attn", "skip_audio_self_attn", "skip_a2v_cross_attn", "skip_v2a_cross_attn"]
Keep = bool | Tensor  # True: all samples, False: none, else bool (B, 1, 1)


@dataclass(frozen=True, kw_only=True)
class Perturbation:
    """One part that a sample skips, in some blocks (None: in all)."""

    type: PerturbationType
    blocks: frozenset[int] | None = None

    def __post_init__(self) -> None:
        if self.type not in get_args(PerturbationType):
            raise ValueError(f"perturbation type: expected one of {get_args(PerturbationType)}, found {self.type!r}")

    def skips(self, kind: PerturbationType, block: int) -> bool:
        return self.type == kind and (self.blocks is None or block in self.blocks)


SamplePerturbations = Sequence[Sequence[Perturbation]]  # outer: one entry a sample


class KeepTable:
    """Which samples keep a part in a block; known on the host, so nothing waits for the device."""

    def __init__(self, perturbations: SamplePerturbations | None, *, device: torch.device) -> None:
        self._perturbations = perturbations or ()
        self._device = device
        self._masks: dict[tuple[bool, ...], Tensor] = {}

    def keep(self, kind: PerturbationType, block: int) -> Keep:
        if not self._perturbations:  # a compiled block must not depend on its number
            return True
        kept = self._kept(kind, block)
        if all(kept):
            return True
        if not any(kept):
            return False
        if kept not in self._masks:
            self._masks[kept] = torch.tensor(kept, device=self._device)[:, None, None]
        return self._masks[kept]

    def _kept(self, kind: PerturbationType, block: int) -> tuple[bool, ...]:
        return tuple(not any(item.skips(kind, block) for item in sample) for sample in self._perturbations)


def check_perturbations(perturbations: SamplePerturbations | None, *, batch: int, num_layers: int) -> None:
    """ValueError for a list of another length than the batch and for blocks that do not exist."""
    if perturbations is None:
        return
    if len(perturbations) != batch:
        raise ValueError(f"perturbations: expected one list for each of {batch} samples, found {len(perturbations)}")
    blocks = {block for sample in perturbations for item in sample for block in item.blocks or ()}
    wrong = sorted(block for block in blocks if not 0 <= block < num_layers)
    if wrong:
        raise ValueError(f"perturbations: expected blocks from 0 to {num_layers - 1}, found {wrong}")
