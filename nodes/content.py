"""A digest of whatever a stage depends on: equal for equal content only, in any process."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Set
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..model_loaders.lora.network import LoraUse
from ..model_loaders.parts import DiffusionModel
from .manifest import fingerprint


class NoContent(TypeError):
    """A value whose content cannot be told: what depends on it cannot be found again."""


def content_digest(value: Any) -> str:
    """SHA-256 over numbers, texts, tensors, dataclasses and collections of them, by type and value.

    Of a model it is the content of its files. Raises NoContent for anything else.
    """
    sha256 = hashlib.sha256()
    _add(sha256, value)
    return sha256.hexdigest()


def _add(sha256: Any, value: Any) -> None:
    sha256.update(f"<{type(value).__module__}.{type(value).__qualname__}>".encode())
    if value is None or isinstance(value, (bool, int, str, float, Path, torch.dtype, torch.device)):
        sha256.update(repr(value).encode(errors="surrogatepass"))
    elif isinstance(value, Tensor):
        plain = value.detach().contiguous().cpu()
        sha256.update(f"{plain.dtype}{tuple(plain.shape)}".encode())
        sha256.update(plain.flatten().view(torch.uint8).numpy().data)
    elif isinstance(value, DiffusionModel):
        _add(sha256, _model(value))
    elif isinstance(value, LoraUse):
        _add(sha256, (fingerprint(value.lora.file.path), value.strengths))
    elif is_dataclass(value) and not isinstance(value, type):
        _add(sha256, {field.name: getattr(value, field.name) for field in fields(value) if field.compare})
    elif isinstance(value, Mapping):
        _add(sha256, sorted((content_digest(key), content_digest(own)) for key, own in value.items()))
    elif isinstance(value, Set):
        _add(sha256, sorted(map(content_digest, value)))
    elif isinstance(value, (list, tuple)):
        for own in value:
            _add(sha256, own)
    else:
        raise NoContent(f"{type(value).__name__}")
    sha256.update(b";")


def _model(model: DiffusionModel) -> dict[str, Any]:
    if model.transformer.patches:
        raise NoContent("a model that other nodes have changed")
    return {
        "file": fingerprint(model.path),
        "config": model.config,
        "format": model.weight_format,
        "dtype": model.transformer.dtype,
        "loras": model.loras,
        "placement": model.placement,
    }
