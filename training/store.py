"""The work folder: weights by network, optimiser states by stage, logs; a file is replaced as a whole or not at all."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..media.targets import whole_file
from ..model_loaders.checkpoint import open_checkpoint

WORK = Path(__file__).resolve().parents[1] / ".training"


@dataclass(frozen=True, kw_only=True)
class Store:
    """Names and files below one folder. committed: a checkpoint to begin from where the folder lacks a network."""

    folder: Path = WORK
    committed: Path | None = None

    def path(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"

    def has(self, name: str) -> bool:
        return self.path(name).is_file()

    def save(self, name: str, tensors: Mapping[str, Tensor], notes: Mapping[str, str] | None = None) -> None:
        """Whole or not at all: a process that is killed leaves the former file."""
        target = self.path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(target) as beside:
            save_file({key: tensor.detach().contiguous() for key, tensor in tensors.items()}, beside, dict(notes or {}))

    def load(self, name: str) -> dict[str, Tensor]:
        return dict(load_file(self.path(name)))

    def notes(self, name: str) -> dict[str, str]:
        with safe_open(str(self.path(name)), framework="pt") as handle:
            return dict(handle.metadata() or {})

    def restore(self, name: str, network: nn.Module, prefix: str) -> bool:
        """Give `network` its weights from the work folder, or those under `prefix` of the committed checkpoint.

        False, and nothing changed, where neither has them in these shapes: the sizes have grown.
        """
        found = self.load(name) if self.has(name) else self._committed(prefix)
        own = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
        if {key: tuple(tensor.shape) for key, tensor in found.items()} != own:
            if self.has(name):
                raise ValueError(
                    f"{self.path(name)}: expected weights of the sizes in training/embedded_config.py, found others; "
                    "move the file away to begin anew"
                )
            return False
        with torch.no_grad():
            network.load_state_dict(found)
        return True

    def _committed(self, prefix: str) -> dict[str, Tensor]:
        if self.committed is None or not self.committed.is_file():
            return {}
        checkpoint = open_checkpoint(self.committed)
        found = checkpoint.load(checkpoint.names(prefix))
        half = prefix.removesuffix("encoder.").removesuffix("decoder.")
        shared = checkpoint.load(checkpoint.names(f"{half}per_channel_statistics.")) if half != prefix else {}
        named = {name.removeprefix(prefix): tensor.float() for name, tensor in found.items()}
        return named | {name.removeprefix(half): tensor.float() for name, tensor in shared.items()}

    def log(self, stage: str, text: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{stage}.log").open("a", encoding="utf-8") as stream:
            stream.write(f"{time.strftime('%H:%M:%S')} {text}\n")
