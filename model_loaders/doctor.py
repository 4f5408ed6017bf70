"""What lies in the models folders: every file, which generation is complete, and what is missing from where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .catalogue import PublishedFile, bundle_of
from .checkpoint import CheckpointError
from .detection import Detected, detect_file
from .encoder_files import SHARD, find_encoder
from .file_names import generation_by_name, superseded
from .generations import ALL, possible

PARTS = {  # of a model: what users call it, and the components that it is made of
    "transformer": ("transformer",),
    "connectors": ("connectors",),
    "text projection": ("text_projection",),
    "text encoder": ("text_encoder",),
    "video VAE": ("video_vae_decoder",),
    "audio VAE": ("audio_vae_decoder", "vocoder"),
}
OPTIONAL = {"upscaler": ("latent_upsampler",)}
ROLES = {  # where the nodes look for a file of this kind
    "monolith": ("checkpoints",),
    "transformer": ("diffusion_models",),
    "connectors": ("diffusion_models", "text_encoders", "checkpoints"),
    "text_projection": ("text_encoders", "diffusion_models", "checkpoints"),
    "text_encoder": ("text_encoders",),
    "video_vae": ("vae", "checkpoints"),
    "audio_vae": ("vae", "checkpoints"),
    "vocoder": ("vae", "checkpoints"),
    "duration_head": ("model_patches",),
    "latent_upsampler": ("latent_upscale_models",),
    "lora": ("loras",),
}
SPLIT = {  # of LTX-2.5, which has a file a part: the folder of the file that holds a part
    **{part: "diffusion_models" for part in ("transformer", "connectors")},
    **{part: "text_encoders" for part in ("text projection", "text encoder")},
    **{part: "vae" for part in ("video VAE", "audio VAE")},
    "upscaler": "latent_upscale_models",
}


@dataclass(frozen=True, kw_only=True)
class FoundFile:
    """A file, or a folder with shards. problem: why it cannot be used, in one line; None where nothing is known."""

    role: str
    path: str
    kind: str = "unreadable"
    generation: str = "unknown"
    weight_format: str = ""
    components: tuple[str, ...] = ()
    problem: str | None = None

    def fits(self, generation: str) -> bool:
        """As far as its header tells, and beyond that its name."""
        named = generation_by_name(Path(self.path).name)
        if named in possible(self.generation):
            return named == generation
        return generation in possible(self.generation)


@dataclass(frozen=True, kw_only=True)
class Missing:
    """Parts that one file would bring. folder: where it goes."""

    parts: tuple[str, ...]
    repository: str
    file: str
    folder: str
    bytes: int | None
    gated: bool


@dataclass(frozen=True, kw_only=True)
class Generation:
    """found: {part: files that have it}; missing: what stands between this and a first clip."""

    generation: str
    found: dict[str, tuple[str, ...]]
    missing: tuple[Missing, ...]
    download: str  # the smallest set of this generation

    @property
    def complete(self) -> bool:
        return not self.missing


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """folders: {role: [[folder, exists], …]}."""

    folders: dict[str, list[tuple[str, bool]]]
    files: tuple[FoundFile, ...]
    generations: tuple[Generation, ...]

    def as_json(self) -> dict[str, Any]:
        states = [{**asdict(state), "complete": state.complete} for state in self.generations]
        return {"folders": self.folders, "files": [asdict(file) for file in self.files], "generations": states}


def diagnose(folders: Mapping[str, Sequence[Path]], listed: Mapping[str, Iterable[Path]]) -> Diagnosis:
    """folders: {role: where it is looked for}; listed: {role: model files there}. Reads headers only."""
    files = tuple(_examined(role, path) for role, paths in listed.items() for path in _whole(paths))
    return Diagnosis(
        folders={role: [(str(path), path.is_dir()) for path in paths] for role, paths in folders.items()},
        files=files,
        generations=tuple(_state(generation, files, folders) for generation in ALL),
    )


def _whole(paths: Iterable[Path]) -> list[Path]:
    """Shards stand for the folder that they lie in."""
    return sorted({path.parent if SHARD.match(path.name) else path for path in paths})


def _examined(role: str, path: Path) -> FoundFile:
    try:
        found = detect_file(path)
    except (CheckpointError, OSError) as error:
        return FoundFile(role=role, path=str(path), problem=str(error))
    return FoundFile(
        role=role,
        path=str(path),
        kind=found.kind,
        generation=found.generation,
        weight_format=found.weight_format,
        components=found.components,
        problem=_problem(role, path, found),
    )


def _problem(role: str, path: Path, found: Detected) -> str | None:
    roles = ROLES.get(found.kind)
    if roles is None:
        return "no part of LTX-2, LTX-2.3 or LTX-2.5"
    if role not in roles:
        return f"a {found.kind} belongs into {' or '.join(roles)}, not {role}; move it there"
    if found.kind == "text_encoder":
        try:
            find_encoder(path).refuse_missing_tokenizer()
        except CheckpointError as error:
            return str(error)
    return superseded(path) if path.is_file() else None


def _usable(file: FoundFile) -> bool:
    return file.problem is None or file.problem == superseded(Path(file.path))


def _state(generation: str, files: Sequence[FoundFile], folders: Mapping[str, Sequence[Path]]) -> Generation:
    usable = [file for file in files if file.fits(generation) and file.role in ROLES.get(file.kind, ())]
    found = {
        part: tuple(file.path for file in usable if set(components) <= set(file.components) and _usable(file))
        for part, components in (PARTS | OPTIONAL).items()
    }
    bundle = bundle_of(generation)
    wanted: dict[PublishedFile, list[str]] = {}
    for part in (part for part in PARTS if not found[part]):
        wanted.setdefault(_file_with(part, generation), []).append(part)
    return Generation(
        generation=generation,
        found={part: paths for part, paths in found.items() if paths},
        missing=tuple(_missing(file, parts, folders) for file, parts in wanted.items()),
        download=bundle.name,
    )


def _missing(file: PublishedFile, parts: Sequence[str], folders: Mapping[str, Sequence[Path]]) -> Missing:
    places = folders.get(file.role, ())
    return Missing(
        parts=tuple(parts),
        repository=file.repository,
        file=file.path,
        folder=str(places[0]) if places else file.role,
        bytes=file.bytes,
        gated=file.gated,
    )


def _file_with(part: str, generation: str) -> PublishedFile:
    """Of the smallest set, the file that holds a part."""
    role = SPLIT[part] if generation == "2.5" or part == "text encoder" else "checkpoints"
    files = [file for file in bundle_of(generation).files if file.role == role]
    audio = [file for file in files if "audio" in file.name]
    return (audio if part == "audio VAE" and audio else files)[0]
