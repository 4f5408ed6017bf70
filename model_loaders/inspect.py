"""What a file holds, and what a model is made of: tensors, parameters and bytes of each component."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from .assemble import build_on_meta
from .checkpoint import Checkpoint, CheckpointError, open_checkpoint
from .detection import detect_file, model_files_at
from .division import divide
from .file_names import superseded, training_by_name
from .lora.file import LoraReport, open_lora
from .published import PUBLISHED, Build, published_model

CHUNK = 16 * 2**20
DESCRIPTIONS = ("_scale", ".weight_scale_2", ".scale_weight", ".scale_input", ".comfy_quant", "scaled_fp8")


@dataclass(frozen=True, kw_only=True)
class Component:
    """One network: how many tensors and numbers its part of the file has, and its bytes there (None: no file)."""

    component: str
    tensors: int
    parameters: int
    bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class FileReport:
    """A file by its header. generation: of a LoRA, as far as its layers tell. lora: {published model: what of it fits},
    empty for any other kind."""

    path: str
    bytes: int
    kind: str
    generation: str
    weight_format: str
    details: dict[str, Any]
    components: tuple[Component, ...]
    lora: dict[str, LoraReport] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    sha256: str | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        """For people."""
        facts = [self.kind, f"LTX-{self.generation}" if self.generation[0] == "2" else self.generation]
        facts += [self.weight_format] if self.weight_format != self.kind else []
        facts += [f"{name} {value}" for name, value in self.details.items()]
        lines = [f"{self.path}: {', '.join(facts)}, {_grouped(self.bytes)} bytes"]
        for row in self.components:
            lines.append(
                f"  {row.component:<22}{row.tensors:>7} tensors {_grouped(row.parameters):>17} parameters "
                f"{_grouped(row.bytes or 0):>17} bytes"
            )
        for name, report in self.lora.items():
            ignored = ", ".join(f"{count} of {what}" for what, count in sorted(report.ignored.items())) or "none"
            lines.append(f"  for {name}: {report.applied} layers applied, keys ignored: {ignored}")
        lines += [f"  {note}" for note in self.notes]
        return lines if self.sha256 is None else [*lines, f"  sha256 {self.sha256}"]


def structure(name: str) -> list[Component]:
    """The components of a published model, counted on the meta device. Raises ValueError for an unknown name."""
    return [_count(component, build) for component, build in published_model(name).networks.items()]


def inspect_file(path: str | os.PathLike[str], *, sha256: bool = False) -> FileReport:
    """What a file, or a folder with shards, is. Only headers are read, but for the hash.

    Raises CheckpointError, one line, for whatever is no such file.
    """
    found, files = detect_file(path), model_files_at(Path(path))
    opened = [open_checkpoint(file) for file in files]
    if found.kind == "lora":
        components, lora, generation = (
            _adapter_components(opened),
            _lora_reports(files[0]),
            open_lora(files[0]).generation,
        )
    else:
        components, lora, generation = _components(opened), {}, found.generation
    return FileReport(
        path=str(path),
        bytes=sum(file.stat().st_size for file in files),
        kind=found.kind,
        generation=generation,
        weight_format=found.weight_format,
        details=dict(found.details),
        components=tuple(components),
        lora=lora,
        notes=tuple(_notes(files, found.kind)),
        sha256=_sha256(files) if sha256 else None,
    )


def _components(files: Sequence[Checkpoint]) -> list[Component]:
    entries = {name: (file, entry) for file in files for name, entry in file.entries.items()}
    return [_counted(component, keys.values(), entries) for component, keys in sorted(divide(entries).items())]


def _adapter_components(files: Sequence[Checkpoint]) -> list[Component]:
    entries = {name: (file, entry) for file in files for name, entry in file.entries.items()}
    return [_counted("adapters", entries, entries)]


def _counted(component: str, names: Iterable[str], entries: dict[str, tuple[Checkpoint, Any]]) -> Component:
    tensors = parameters = size = 0
    for name in names:
        file, entry = entries[name]
        size += entry.end - entry.start
        if name.endswith(DESCRIPTIONS):
            continue
        tensors += 1
        packed = entry.dtype == "U8" and f"{name}_scale_2" in file.entries  # nvfp4: two values a byte
        parameters += prod(entry.shape) * (2 if packed else 1)
    return Component(component=component, tensors=tensors, parameters=parameters, bytes=size)


def _lora_reports(path: Path) -> dict[str, LoraReport]:
    """Against the layers of every published model; a model that it does not fit is left out."""
    lora, reports = open_lora(path), {}
    for name in PUBLISHED:
        model = published_model(name)
        names = build_on_meta(model.networks["transformer"]).state_dict()
        try:
            reports[name] = lora.report(lora.match(names, generation=model.generation))
        except CheckpointError:
            continue
    return reports


def _notes(files: Sequence[Path], kind: str) -> Iterable[str]:
    if len(files) == 1:
        replaced = superseded(files[0])
        if replaced is not None:
            yield replaced
        if kind in ("monolith", "transformer"):
            yield _training_hint(files[0].name)


def _training_hint(name: str) -> str:
    """dev or distilled: nothing in a file tells."""
    training = training_by_name(name)
    if training is not None:
        return f"{training}, by its name; nothing inside a file tells dev from distilled"
    return "dev or distilled: neither its name nor anything inside tells; choose the sampling settings accordingly"


def _sha256(files: Sequence[Path]) -> str:
    """Of the bytes of all files in order."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def _grouped(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _count(component: str, build: Build) -> Component:
    tensors = build_on_meta(build).state_dict().values()
    return Component(component=component, tensors=len(tensors), parameters=sum(t.numel() for t in tensors))
