"""Where the standalone host reads and writes, and what it computes on. Set by the caller, read by the runtime."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from ..files import role_folders
from ..state_folder import StateFolder


def model_folders_below(*roots: Path) -> dict[str, list[Path]]:
    """ComfyUI's layout, see `files.role_folders`."""
    return role_folders(roots)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Folders and device of the standalone host.

    `model_folders` maps a role (`files.MODEL_ROLES`) to the folders searched for it, first hit wins. `device` None
    chooses an accelerator if there is one. `attention`: kernels of the transformer, by name. `metadata`: whether saved
    files carry the workflow and the run manifest. `state`: where long runs keep finished steps; None: nowhere.
    """

    output_folder: Path = Path("output")
    input_folder: Path = Path("input")
    temp_folder: Path = field(default_factory=lambda: Path(tempfile.gettempdir()) / "openltx")
    model_folders: Mapping[str, Sequence[Path]] = field(default_factory=lambda: model_folders_below(Path("models")))
    device: str | None = None
    attention: str = "auto"
    metadata: bool = True
    state: StateFolder | None = None


_active: ContextVar[Settings | None] = ContextVar("openltx_settings", default=None)


def current() -> Settings:
    """The settings in force: those of the innermost `use`, else the defaults."""
    return _active.get() or Settings()


@contextmanager
def use(settings: Settings) -> Iterator[None]:
    """Puts settings in force for this thread's work inside the block: listing, validation and runs."""
    token = _active.set(settings)
    try:
        yield
    finally:
        _active.reset(token)
