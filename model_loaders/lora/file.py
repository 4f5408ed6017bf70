"""One LoRA file: what it holds, what of it fits a model, and a report that can fail."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from ..checkpoint import Checkpoint, CheckpointError, open_checkpoint
from ..detection import detect_checkpoint, hdr_transform, reference_factors
from .keys import Matched, match, split_suffix

FLAT = str.maketrans(".", "_")
# marks of layers that not every generation has, with dots as underscores
ONLY_2 = ("caption_projection",)
NOT_2 = ("to_gate_logits", "prompt_adaln", "prompt_scale_shift_table")
ANY, NEWER = "any", "2.3 or 2.5"


@dataclass(frozen=True, kw_only=True)
class LoraReport:
    """What came of a LoRA: applied: layers; ignored: keys by the component that they were meant for, with examples."""

    path: str
    generation: str  # of the file: "2", "2.3 or 2.5", "any" where its layers do not tell
    rank: int | None  # the largest
    smallest_rank: int | None
    applied: int
    ignored: dict[str, int]
    examples: tuple[str, ...]
    reference_downscale_factor: int
    reference_temporal_scale_factor: int
    hdr: str | None = None  # of an HDR adapter: its working space

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        ranks = f"{self.smallest_rank} to {self.rank}" if self.smallest_rank != self.rank else str(self.rank)
        line = f"{self.path}: rank {ranks}, {self.applied} layers applied"
        if self.ignored:
            groups = ", ".join(f"{count} of {component}" for component, count in sorted(self.ignored.items()))
            line += f", keys ignored: {groups} ({', '.join(self.examples)})"
        if self.hdr is not None:
            line += f", HDR: frames are {self.hdr} codes"
        return line


@dataclass(frozen=True, kw_only=True)
class LoraFile:
    """An opened LoRA; nothing but its header has been read."""

    file: Checkpoint
    generation: str
    rank: int | None
    smallest_rank: int | None

    @property
    def reference_downscale_factor(self) -> int:
        """Of an IC-LoRA: how much smaller its reference is; 1 for any other."""
        return reference_factors(self.file.metadata).get("reference_downscale_factor", 1)

    @property
    def reference_temporal_scale_factor(self) -> int:
        return reference_factors(self.file.metadata).get("reference_temporal_scale_factor", 1)

    def match(
        self,
        model_names: Iterable[str],
        *,
        generation: str | None = None,
        what: str = "transformer",
        spell: Callable[[str], Iterator[str]] | None = None,
    ) -> Matched:
        """Which layers of a model it changes. what: the model, for the error; spell: see `keys.match`.

        Raises CheckpointError, one line, when it changes none, and when it can only be of another generation.
        """
        if generation is not None and self.generation != ANY and generation not in self.generation.split(" or "):
            raise CheckpointError(
                f"{self.file.path}: expected a LoRA for LTX-{generation}, found one for LTX-{self.generation}; "
                "use a LoRA of the model's generation"
            )
        try:
            matched = match(self.file.entries, model_names, spell=spell)
        except CheckpointError as error:
            raise CheckpointError(f"{self.file.path}: {error}") from error
        if not matched.layers:
            first = ", ".join(matched.ignored[:3])
            raise CheckpointError(
                f"{self.file.path}: expected keys of this {what}, found none among {len(matched.ignored)} "
                f"({first}); use a LoRA that was made for this model"
            )
        return matched

    def report(self, matched: Matched | None) -> LoraReport:
        return LoraReport(
            path=str(self.file.path),
            generation=self.generation,
            rank=self.rank,
            smallest_rank=self.smallest_rank,
            applied=0 if matched is None else len(matched.layers),
            ignored={} if matched is None else matched.ignored_by_component,
            examples=() if matched is None else matched.ignored[:3],
            reference_downscale_factor=self.reference_downscale_factor,
            reference_temporal_scale_factor=self.reference_temporal_scale_factor,
            hdr=hdr_transform(self.file.metadata),
        )


def open_lora(path: str | os.PathLike[str]) -> LoraFile:
    """Raises CheckpointError, one line, for a file that is no LoRA, by what it is instead."""
    file = open_checkpoint(path)
    found = detect_checkpoint(file)
    if found.kind != "lora":
        raise CheckpointError(f"{file.path}: expected a LoRA, found a file of kind {found.kind}; choose another file")
    rank = found.details.get("rank")
    return LoraFile(
        file=file,
        generation=_generation(file.entries),
        rank=rank,
        smallest_rank=found.details.get("smallest_rank", rank),
    )


def _generation(names: Iterable[str]) -> str:
    """As far as its layers tell: shapes are the same in all generations."""
    layers = [split_suffix(name)[0].translate(FLAT) for name in names]
    if any(mark in layer for layer in layers for mark in NOT_2):
        return NEWER
    return "2" if any(mark in layer for layer in layers for mark in ONLY_2) else ANY
