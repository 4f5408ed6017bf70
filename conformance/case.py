"""A golden case: inputs, the call, expected outputs and the tolerance, from a .safetensors file or a JSON list."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..model_loaders.checkpoint import Checkpoint, open_checkpoint, open_tensors

GENERATIONS = ("2", "2.3", "2.5")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One golden case. `inputs` and `expected` lose their `@in/`, `@out/` prefixes."""

    path: Path
    component: str
    call: dict[str, Any]
    generations: tuple[str, ...]
    tolerance: dict[str, dict[str, float]]
    rtol: float
    atol: float
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32

    @property
    def kind(self) -> tuple[str, str | None]:
        """(component, op): what procedures are registered under."""
        return self.component, self.call.get("op")

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The weights and the configuration that the case's own file carries."""
        return open_checkpoint(self.path)

    def sibling(self, name: str) -> Path:
        """A file or folder that the case refers to by name."""
        return self.path.parent / name

    @cached_property
    def inputs(self) -> dict[str, Tensor]:
        """Input tensors on the device; floating ones keep the dtype of the file."""
        return {name: tensor.to(self.device) for name, tensor in self._tensors("@in/").items()}

    @cached_property
    def expected(self) -> dict[str, Tensor]:
        return self._tensors("@out/")

    @cached_property
    def output_names(self) -> list[str]:
        """Names of the expected outputs: for calls that are spelled in them. A procedure sees no expected value."""
        return list(self.expected)

    @cached_property
    def intermediate(self) -> dict[str, Tensor]:
        """`@mid/…`: results on the way, to hunt a difference with; never compared by the runner."""
        return self._tensors("@mid/")

    def _tensors(self, prefix: str) -> dict[str, Tensor]:
        with open_tensors(self.path) as handle:
            return {
                name.removeprefix(prefix): handle.get_tensor(name) for name in handle.keys() if name.startswith(prefix)
            }


def read_case(path: str | os.PathLike[str]) -> Case | None:
    """The case that a .safetensors file holds, or None for a plain checkpoint (metadata without `case`)."""
    checkpoint = open_checkpoint(path)
    text = checkpoint.metadata.get("case")
    if text is None:
        return None
    row = json.loads(text)
    return Case(
        path=checkpoint.path,
        component=row["component"],
        call=row.get("call") or {},
        generations=tuple(row.get("generations") or GENERATIONS),
        tolerance=row.get("tolerance") or {},
        rtol=float(row.get("rtol", 0.0)),
        atol=float(row.get("atol", 0.0)),
    )


def read_json_case(path: str | os.PathLike[str]) -> Case:
    """A JSON list of an area as one case of component `list.<file stem>`; procedures report exact matches."""
    return Case(
        path=Path(path),
        component=f"list.{Path(path).stem}",
        call={},
        generations=GENERATIONS,
        tolerance={},
        rtol=0.0,
        atol=0.0,
    )
