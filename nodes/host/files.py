"""Names of files, the same in both hosts: models by role, inputs, and the next free output name. No torch, no host."""

from __future__ import annotations

import mimetypes
import os
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ...given_text import quoted
from ...media.workplace import Reservation, reserved

PACKAGE_ROOT = Path(__file__).resolve().parents[2]
ASSETS = PACKAGE_ROOT / "assets"
SAMPLE_INPUTS = PACKAGE_ROOT / "workflows" / "input"

MODEL_ROLES = (
    "checkpoints",
    "diffusion_models",
    "text_encoders",
    "vae",
    "loras",
    "latent_upscale_models",
    "model_patches",
)
ALIASES = {"diffusion_models": ("unet",), "text_encoders": ("clip",)}  # older names of folders, which ComfyUI reads too
MODEL_SUFFIXES = (".safetensors", ".sft", ".gguf")  # never a pickled format

LONGEST_NAME = 200  # bytes: file systems take 255, and a number, a suffix and a sidecar's follow

MediaKind = Literal["image", "audio", "video"]


@dataclass(frozen=True, kw_only=True)
class OutputFile:
    """A free file name: `path` to write to; `filename`, `subfolder` and `type` as interfaces show them.

    reservation: keeps other workers from the name as long as this object lives.
    """

    path: Path
    filename: str
    subfolder: str
    type: Literal["output", "temp"] = "output"
    reservation: Reservation | None = field(default=None, compare=False, repr=False)

    def ui_entry(self) -> dict[str, str]:
        """The entry for a node's `ui` result: {"filename", "subfolder", "type"}."""
        return {"filename": self.filename, "subfolder": self.subfolder, "type": self.type}


def role_folders(roots: Sequence[Path]) -> dict[str, list[Path]]:
    """ComfyUI's layout: where the models of each role lie below `roots`, in the order of the roots."""
    return {role: [root / name for root in roots for name in (role, *ALIASES.get(role, ()))] for role in MODEL_ROLES}


def check_role(role: str) -> None:
    """Raises ValueError for a role outside `MODEL_ROLES`."""
    if role not in MODEL_ROLES:
        raise ValueError(f"model role: expected one of {', '.join(MODEL_ROLES)}, found {role!r}")


def list_models(role: str, folders: Iterable[Path]) -> list[str]:
    """Sorted relative names (with `/`) of the model files below `folders` and of the embedded ones of this role."""
    check_role(role)
    names = {name for folder in folders for name in model_names(folder)}
    return sorted(names | set(_embedded(role)))


def find_model(role: str, folders: Sequence[Path], name: str) -> Path | None:
    """The file of a listed name: the first folder that has it, then the embedded models; None if there is none."""
    check_role(role)
    if not name.endswith(MODEL_SUFFIXES):
        return None
    found = (inside(folder, name) for folder in folders)
    return next((path for path in found if path is not None), _embedded(role).get(name.replace("\\", "/")))


def missing_model(role: str, name: str, folders: Sequence[Path]) -> ValueError:
    """The error for a model name that no folder has."""
    places = ", ".join(str(folder) for folder in folders) or "no folder is set for this role"
    what = f"a {' or '.join(MODEL_SUFFIXES)} file" if not name.endswith(MODEL_SUFFIXES) else "a file that exists"
    return ValueError(f"{role}: expected {what}, found {name!r}; put the file into one of: {places}")


def first_folder(role: str, folders: Sequence[Path]) -> Path:
    """ValueError where there is none."""
    if not folders:
        raise ValueError(f"{role}: expected a folder for models of this role, found none set; add one")
    return folders[0]


def inside(folder: Path, name: str, *, folders: bool = False) -> Path | None:
    """`folder/name` if that is a file (or, if asked for, a folder below) and the name does not lead out, else None."""
    path, root = Path(os.path.normpath(folder / name)), Path(os.path.normpath(folder))
    contained = path.is_relative_to(root)
    return path if contained and (path.is_file() or (folders and path != root and path.is_dir())) else None


def media_files(folders: Iterable[Path], kind: MediaKind) -> list[str]:
    """Sorted names of the files directly in `folders` whose extension says image, audio or video."""
    return sorted(
        {entry.name for folder in folders if folder.is_dir() for entry in folder.iterdir() if _is(entry, kind)}
    )


def sequences(folders: Iterable[Path], suffix: str) -> list[str]:
    """Sorted names of the files that end in `suffix` in `folders`, and of the folders there that hold such files."""

    def fits(entry: Path) -> bool:
        if entry.is_dir() and not entry.name.startswith("."):
            return any(path.suffix.lower() == suffix for path in entry.iterdir())
        return entry.suffix.lower() == suffix

    return sorted({entry.name for folder in folders if folder.is_dir() for entry in folder.iterdir() if fits(entry)})


def next_output(
    folder: Path,
    prefix: str,
    suffix: str,
    *,
    type: Literal["output", "temp"] = "output",
    now: time.struct_time | None = None,
) -> OutputFile:
    """The next free `<prefix>_<5 digits>_<suffix>` in `folder`; makes the sub-folder that a prefix may name.

    `%year% %month% %day% %hour% %minute% %second%` in the prefix are replaced (packaging.md 3.3 Files).
    Raises ValueError for a prefix that leaves the folder or has no name.
    """
    prefix = os.path.normpath(_with_date(prefix, now or time.localtime()))
    subfolder, stem = os.path.split(prefix)
    target = Path(os.path.normpath(folder / subfolder))
    if stem in ("", ".", "..") or os.path.isabs(prefix) or not target.is_relative_to(os.path.normpath(folder)):
        raise ValueError(
            f"filename prefix: expected a name inside {folder}, found {quoted(prefix)}; use a relative name"
        )
    if any(len(os.fsencode(part)) > LONGEST_NAME for part in prefix.split(os.sep)):
        raise ValueError(
            f"filename prefix: expected names of at most {LONGEST_NAME} bytes, found {quoted(prefix)}; use a shorter "
            "one"
        )
    target.mkdir(parents=True, exist_ok=True)
    number, reservation = _reserved_number(target, stem)
    filename, subfolder = f"{stem}_{number:05}_{suffix}", subfolder.replace("\\", "/")
    return OutputFile(
        path=target / filename, filename=filename, subfolder=subfolder, type=type, reservation=reservation
    )


def model_names(folder: Path) -> Iterable[str]:
    """Relative names (with `/`) of the model files below a folder; none where there is no such folder."""
    for parent, directories, files in os.walk(folder, followlinks=True):
        directories[:] = [name for name in directories if not name.startswith(".")]  # .git, download caches
        for name in files:
            if name.endswith(MODEL_SUFFIXES):
                yield (Path(parent) / name).relative_to(folder).as_posix()


def _embedded(role: str) -> dict[str, Path]:
    """Files of the package itself: `assets/<role>/`, and for whole checkpoints also `assets/`."""
    found = {name: ASSETS / role / name for name in model_names(ASSETS / role)}
    if role == "checkpoints" and ASSETS.is_dir():
        found |= {path.name: path for path in ASSETS.iterdir() if path.suffix in MODEL_SUFFIXES}
    return found


def _is(path: Path, kind: MediaKind) -> bool:
    guessed = mimetypes.guess_type(path.name, strict=False)[0] or ""
    return path.is_file() and (guessed.startswith(f"{kind}/") or (kind == "image" and path.suffix.lower() == ".exr"))


def _with_date(prefix: str, now: time.struct_time) -> str:
    codes = {"year": "%Y", "month": "%m", "day": "%d", "hour": "%H", "minute": "%M", "second": "%S"}
    for name, code in codes.items():
        prefix = prefix.replace(f"%{name}%", time.strftime(code, now))
    return prefix


def _reserved_number(folder: Path, stem: str) -> tuple[int, Reservation | None]:
    """The next number that no file has and no other worker is about to use."""
    number = _next_number(folder, stem)
    while True:
        try:
            reservation = reserved(folder, f"{stem}_{number:05}")
        except OSError:  # the writer will say why nothing can be written there
            return number, None
        if reservation is not None and _next_number(folder, stem) <= number:
            return number, reservation
        number += 1  # taken, or written since


def _next_number(folder: Path, stem: str) -> int:
    pattern = re.compile(re.escape(os.path.normcase(stem)) + r"_(\d+)")
    matches = (pattern.match(os.path.normcase(entry.name)) for entry in folder.iterdir())
    return max((int(match[1]) for match in matches if match), default=0) + 1
