"""Latents of a piece as a file of its entry in the store."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ...samplers.streams import Streams
from ...shots.store import Store

LATENTS = "latents.safetensors"


def save_latents(folder: Path, latents: Streams[Tensor]) -> None:
    """Both streams, as they are."""
    named = {name: value.contiguous() for name, value in vars(latents).items() if value is not None}
    save_file(named, folder / LATENTS)


def load_latents(folder: Path) -> Streams[Tensor]:
    """ValueError where the file is damaged; its entry should then be removed."""
    try:
        return Streams(**load_file(folder / LATENTS))
    except (OSError, SafetensorError, TypeError) as error:
        raise ValueError(
            f"{folder}: expected latents of a shot, found a damaged entry ({error}); clear it with 'openltx workflows "
            "cache --clear'"
        ) from error


def latents_of(store: Store, key: str) -> Path:
    """The folder of an entry. ValueError where it has been removed meanwhile."""
    folder = store.found(key)
    if folder is None:
        raise ValueError("shots: expected a rendered shot in the cache, found it removed meanwhile; run again")
    return folder
