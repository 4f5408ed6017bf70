"""Model files that a user chose by name, and what their names say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..model_loaders.file_names import TRAININGS, Training, superseded, training_by_name
from .host.api import io, model_files, model_path, warn_user

AUTO = "auto"


def files_with(roles: Sequence[str], *, before: Sequence[str] = ()) -> list[str]:
    """Options of a combo from several roles' folders; a name that is in several stands once."""
    return list(dict.fromkeys([*before, *(name for role in roles for name in model_files(role))]))


def chosen(role: str | Sequence[str], name: str) -> Path:
    """The file of a name from `model_files` or `files_with`, with a word on one that its publisher replaced.

    Raises ValueError, which names the folders of the first role, for none.
    """
    if not isinstance(role, str):
        role = next((one for one in role if name in model_files(one)), role[0])
    path = model_path(role, name)
    replaced = superseded(path)
    if replaced is not None:
        warn_user(f"{path.name}: {replaced}")
    return path


def training_input() -> io.BaseInput:
    return io.Combo.Input(
        "training",
        options=[AUTO, *TRAININGS],
        default=AUTO,
        optional=True,
        tooltip="What the weights were made for; nothing in a file says it. auto: by the file's name, where it has the "
        "word. distilled: 8 steps without guidance; more guidance is warned of.",
    )


def training_of(path: Path, choice: str) -> Training | None:
    """The user's choice; for `auto` what the name says, and a word that it was the name. ValueError for others."""
    if choice == AUTO:
        by_name = training_by_name(path.name)
        if by_name is not None:
            warn_user(f"{path.name}: taken for {by_name}, by its name; choose 'training' in the loader if it is not")
        return by_name
    for training in TRAININGS:
        if training == choice:
            return training
    raise ValueError(f"training: expected {AUTO} or one of {', '.join(TRAININGS)}, found {choice!r}")
