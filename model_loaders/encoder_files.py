"""What lies at the path of a text encoder: which layout, which files, which tensors, configuration, tokenizer.

Layouts (text.md sections 1.1 to 1.3): a Hugging Face folder, a single file, a packed file, and our own embedded one:
everything in one LTX checkpoint, the encoder below `text_encoder.`. This module alone knows their names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..given_text import parse_json
from .checkpoint import Checkpoint, CheckpointError, open_checkpoint
from .gemma_config import GEMMA3_12B, GEMMA3_DEFAULTS
from .tokenizer import (
    PromptTokenizer,
    add_bos_setting,
    sentencepiece_installed,
    tokenizer_from_json,
    tokenizer_from_sentencepiece,
)

EMBEDDED = "text_encoder."
PREFIXES = (f"{EMBEDDED}model.", "language_model.model.", "model.language_model.", "model.")
# Both together mark Gemma from the third on: Qwen 3 has the first, Gemma 2 the second.
MARKERS = ("layers.0.self_attn.q_norm.weight", "layers.0.pre_feedforward_layernorm.weight")
EMBEDDING = "embed_tokens.weight"
SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.safetensors$")
INDEX = ".safetensors.index.json"
WANTED = "expected a Gemma text encoder (its Hugging Face folder or its single .safetensors file)"


@dataclass(frozen=True, kw_only=True)
class EncoderFiles:
    """One text encoder on disk; nothing but headers has been read."""

    path: Path  # the file, or the folder with the shards
    files: tuple[Checkpoint, ...]
    prefix: str

    @cached_property
    def tensors(self) -> dict[str, tuple[Checkpoint, str]]:
        """{parameter name of the text decoder: (file, name in it)}"""
        return {
            name[len(self.prefix) :]: (file, name)
            for file in self.files
            for name in file.names(self.prefix)
            if not name.startswith("model.diffusion_model.")
        }

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: file.entries[key].shape for name, (file, key) in self.tensors.items()}

    @property
    def folder(self) -> Path:
        return self.path if self.path.is_dir() else self.path.parent

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The Hugging Face configuration: from the file, the folder, or the constants of Gemma 3 12B.

        Raises CheckpointError when there is none and the tensors are not those of Gemma 3 12B.
        """
        for file in self.files:
            if "gemma_config" in file.metadata:
                return _json_object(file.metadata["gemma_config"], f"{file.path}, metadata entry 'gemma_config'")
            if "gemma_config" in file.config:
                return dict(file.config["gemma_config"])
        beside = self.folder / "config.json"
        if beside.is_file():
            config = _json_object(beside.read_text("utf-8"), str(beside))
            if str(config.get("model_type")).startswith("gemma"):  # a folder of single files may hold any config
                return config
        shape = self.shapes.get(EMBEDDING)
        size_12b = (GEMMA3_DEFAULTS["vocab_size"], GEMMA3_12B["hidden_size"])
        if not self.is_gemma4 and shape == size_12b and "layers.47.self_attn.q_norm.weight" in self.tensors:
            return GEMMA3_12B
        raise CheckpointError(
            f"{self.path}: no configuration in it, and its embedding {shape} is not that of Gemma 3 12B {size_12b}; "
            "put the encoder's config.json beside its shards"
        )

    @property
    def is_gemma4(self) -> bool:
        return "layers.0.layer_scalar" in self.tensors

    @property
    def model_type(self) -> str:
        """`gemma3`, `gemma4_unified` …; by the tensors where the configuration does not say."""
        return str(self.config.get("model_type") or ("gemma4" if self.is_gemma4 else "gemma3")).removesuffix("_text")

    @property
    def gemma_version(self) -> str | None:
        """What a checkpoint's `gemma_source_checkpoint` names, for instance `gemma4-12b-ltx-v1`."""
        version = self.config.get("gemma_version")
        return None if version is None else str(version)

    def tokenizer(self) -> PromptTokenizer:
        """The encoder's own tokenizer; failing that, the one in its folder. Raises CheckpointError without any."""
        embedded = self.prefix.startswith(EMBEDDED)
        prefix = EMBEDDED if embedded else ""
        text = self._packed(f"{prefix}tokenizer_json")
        if text is not None:
            settings = self._packed(f"{prefix}hf_asset__tokenizer_config.json")
            origin = f"{self.path}, tensor tokenizer_json"
            add_bos = add_bos_setting(None if settings is None else _utf8(settings, origin), origin=origin)
            return tokenizer_from_json(_utf8(text, origin), add_bos=add_bos, own_length=embedded, origin=origin)
        pieces = self._packed(f"{prefix}spiece_model")
        if pieces is not None and (sentencepiece_installed() or not (self.folder / "tokenizer.json").is_file()):
            return tokenizer_from_sentencepiece(pieces, origin=str(self.path))
        return tokenizer_from_folder(self.folder, wanted_by=self.path)

    def refuse_missing_tokenizer(self) -> None:
        """CheckpointError where `tokenizer` would find none; nothing but names is looked at."""
        prefix = EMBEDDED if self.prefix.startswith(EMBEDDED) else ""
        packed = {f"{prefix}tokenizer_json", f"{prefix}spiece_model"}
        if not any(packed & file.entries.keys() for file in self.files):
            tokenizer_file(self.folder, wanted_by=self.path)

    def _packed(self, name: str) -> bytes | None:
        """The bytes that a 1-D integer tensor holds."""
        import torch

        for file in self.files:
            if name in file.entries:
                return file.load([name])[name].to(torch.uint8).numpy().tobytes()
        return None


def tokenizer_from_folder(folder: Path, *, wanted_by: Path) -> PromptTokenizer:
    """From `tokenizer.json` (with `tokenizer_config.json`) or `tokenizer.model`; CheckpointError without either."""
    file = tokenizer_file(folder, wanted_by=wanted_by)
    if file.suffix == ".json":
        settings = folder / "tokenizer_config.json"
        text = settings.read_text("utf-8") if settings.is_file() else None
        add_bos = add_bos_setting(text, origin=str(settings))
        return tokenizer_from_json(_utf8(file.read_bytes(), str(file)), add_bos=add_bos, origin=str(file))
    return tokenizer_from_sentencepiece(file.read_bytes(), origin=str(folder))


def tokenizer_file(folder: Path, *, wanted_by: Path) -> Path:
    """`tokenizer.json`, failing that `tokenizer.model`, of a folder; CheckpointError without either."""
    for name in ("tokenizer.json", "tokenizer.model"):
        if (folder / name).is_file():
            return folder / name
    raise CheckpointError(
        f"{wanted_by}: no tokenizer in it, and neither tokenizer.json nor tokenizer.model in {folder}; "
        "put the encoder's tokenizer.json there"
    )


def find_encoder(path: Path) -> EncoderFiles:
    """The text encoder at a path: a file, its folder, or a folder further up.

    Raises CheckpointError, one line, when nothing is there, nothing in it is a Gemma, there are several, or shards
    are missing.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: no such file or folder; {WANTED}")
    if SHARD.match(path.name):
        path = path.parent
    if path.is_file():
        files: list[Sequence[Path]] = [[path]]
    else:
        files = [group for folder in [path, *_folders(path)] for group in _file_groups(folder)]
        if not files:
            raise CheckpointError(f"{path}: {WANTED}, found no .safetensors file in it or below; download the encoder")
    opened = [tuple(open_checkpoint(file) for file in group) for group in files]
    found = [(group, prefix) for group in opened if (prefix := _text_prefix(group)) is not None]
    if not found:
        raise CheckpointError(f"{path}: {WANTED}, found none among its tensors; give the encoder's own path")
    if len(found) > 1:
        names = ", ".join(str(group[0].path) for group, _ in found[:3])
        raise CheckpointError(f"{path}: expected one text encoder, found {len(found)} ({names}); give the path of one")
    group, prefix = found[0]
    first = group[0].path
    return EncoderFiles(path=first if len(group) == 1 else first.parent, files=group, prefix=prefix)


def _folders(path: Path) -> list[Path]:
    return sorted(folder for folder in path.rglob("*") if folder.is_dir())


def _file_groups(folder: Path) -> list[Sequence[Path]]:
    """The files of a folder that belong together: shards of one index or one numbering, or a file alone."""
    groups: list[Sequence[Path]] = []
    taken: set[Path] = set()
    for index in sorted(folder.glob(f"*{INDEX}")):
        rows = _json_object(index.read_text("utf-8"), str(index)).get("weight_map", {})
        groups.append(_all_present(folder, sorted(set(rows.values())), said_by=index.name))
        taken.update(groups[-1])
    numbered: dict[tuple[str, str], None] = {}
    for file in sorted(folder.glob("*.safetensors")):
        match = SHARD.match(file.name)
        if file in taken:
            continue
        if match is None:
            groups.append([file])
        else:
            numbered[match[1], match[3]] = None
    for stem, count in numbered:
        names = [f"{stem}-{i:05d}-of-{count}.safetensors" for i in range(1, int(count) + 1)]
        groups.append(_all_present(folder, names, said_by="their numbering"))
    return groups


def _all_present(folder: Path, names: Sequence[str], *, said_by: str) -> list[Path]:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{folder}: expected {len(names)} shards by {said_by}, found {len(names) - len(missing)}; "
            f"download the missing ones: {', '.join(missing[:3])}{' …' if len(missing) > 3 else ''}"
        )
    return [folder / name for name in names]


def _text_prefix(files: Sequence[Checkpoint]) -> str | None:
    for prefix in PREFIXES:
        if all(any(f"{prefix}{marker}" in file.entries for file in files) for marker in MARKERS):
            return prefix
    return None


def _utf8(data: bytes, origin: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{origin}: expected UTF-8 text, found something else; download it again") from error


def _json_object(text: str, origin: str) -> dict[str, Any]:
    try:
        value = parse_json(text)
    except ValueError as error:
        raise CheckpointError(f"{origin}: expected JSON, found {error}; download it again") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{origin}: expected a JSON object; download it again")
    return value
