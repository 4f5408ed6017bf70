"""What a running node asks of the standalone host: progress, interruption, files, device, a word to the user.

No torch at import time: schemas list model files, and listing must stay quick.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from .. import files
from ..files import MediaKind, OutputFile
from ..state_folder import StateFolder
from .settings import current

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image


class Interrupted(BaseException):
    """The user asked to stop. Not an Exception, so that `except Exception` in a node does not swallow it."""


class Observer:
    """Is told what a run does; override what you show. Called in the thread that runs the nodes."""

    def node_started(self, node_id: str, title: str) -> None:
        """`title` is the file's title of the node, or its class."""

    def node_progress(self, node_id: str, done: int, total: int, preview: Image | None) -> None:
        """Steps done of `total` within the node, with a picture if the node has one."""

    def node_finished(self, node_id: str, *, cached: bool) -> None:
        """Comes without `node_started` for a node whose result was still there."""

    def warning(self, text: str) -> None:
        """One line that the user should see."""
        print(f"openltx: warning: {text}", file=sys.stderr)


@dataclass(frozen=True, kw_only=True)
class Call:
    """The node call that is under way, for whom it reports, and the flag that stops it."""

    node_id: str
    observer: Observer
    stop: threading.Event = field(default_factory=threading.Event)


_call: ContextVar[Call | None] = ContextVar("openltx_call", default=None)


@contextmanager
def calling(call: Call) -> Iterator[None]:
    """Progress and interruption inside the block belong to this call."""
    token = _call.set(call)
    try:
        yield
    finally:
        _call.reset(token)


class Progress:
    """A node's progress, also as `with progress(total) as steps:`. Every update checks the stop flag.

    May be used from other threads of the node.
    """

    def __init__(self, total: int) -> None:
        self.total, self.done, self._call = total, 0, _call.get()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *failure: object) -> None:
        """Nothing to close: a node that fails or is interrupted leaves its bar where it stood."""

    def update(self, steps: int = 1) -> None:
        """Report `steps` more."""
        self.update_absolute(self.done + steps)

    def update_absolute(self, value: int, total: int | None = None, preview: Image | None = None) -> None:
        """Report `value` of `total` (unchanged if None). Raises `Interrupted` if the user asked to stop."""
        self.total = self.total if total is None else total
        self.done = min(value, self.total)
        if self._call is not None:
            _raise_if_stopped(self._call)
            self._call.observer.node_progress(self._call.node_id, self.done, self.total, preview)


def progress(total: int) -> Progress:
    """The progress of the node that is running, counted in `total` steps."""
    return Progress(total)


def check_interrupted() -> None:
    """For loops without progress: raises `Interrupted` if the user asked to stop."""
    call = _call.get()
    if call is not None:
        _raise_if_stopped(call)


def warn_user(text: str) -> None:
    """Tell the user one line."""
    call = _call.get()
    (Observer() if call is None else call.observer).warning(text)


def attention_wanted() -> str:
    """Which attention kernels the transformer is to use, by name: the settings' word."""
    return current().attention


def metadata_wanted() -> bool:
    """Whether saved files may carry the workflow and what belongs to it: the settings' word."""
    return current().metadata


def state_folder() -> StateFolder | None:
    """Where stages keep their finished steps: the settings' word; None: nowhere."""
    return current().state


def compute_device() -> torch.device:
    """The device that networks run on: the settings', else an accelerator if there is one."""
    import torch  # here, so that listing and validation do without

    wanted = current().device
    if wanted is not None:
        return torch.device(wanted)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def output_file(prefix: str, suffix: str, *, temporary: bool = False) -> OutputFile:
    """A free file name `<prefix>_<5 digits>_<suffix>` in the output (or temporary) folder.

    Raises ValueError for a prefix that leaves the folder.
    """
    settings = current()
    if temporary:
        return files.next_output(settings.temp_folder, prefix, suffix, type="temp")
    return files.next_output(settings.output_folder, prefix, suffix)


def input_file(name: str) -> Path:
    """The file of a media input: a name in the input folder, a plain path, or one of the package's samples.

    ComfyUI's form `name [output]` is understood. Raises ValueError if there is no such file.
    """
    folder, bare = _annotated(name)
    plain = Path(bare)
    found = files.inside(folder, bare) or (plain if plain.is_file() else files.inside(files.SAMPLE_INPUTS, bare))
    if found is None:
        raise ValueError(f"input file: expected a file in {folder} or a path, found {name!r}")
    return found


def input_files(kind: MediaKind) -> list[str]:
    """Names to choose from, as options of a combo; a value may also be anything that `input_file` finds."""
    folder = current().input_folder
    return InputOptions(files.media_files([folder, files.SAMPLE_INPUTS], kind), [folder])


def input_sequences(suffix: str) -> list[str]:
    """Names of stills and of folders with numbered ones; a value may also be anything that `input_sequence` finds."""
    folder = current().input_folder
    return SequenceOptions(files.sequences([folder], suffix), [folder])


def input_sequence(name: str) -> Path:
    """As `input_file`, for a file or a folder with files. Raises ValueError if there is neither."""
    folder, bare = _annotated(name)
    plain = Path(bare)
    found = files.inside(folder, bare, folders=True) or (plain if plain.exists() else None)
    if found is None:
        raise ValueError(f"input: expected a file or a folder in {folder} or a path, found {name!r}")
    return found


def model_files(role: str, *, before: Sequence[str] = ()) -> list[str]:
    """Options of a combo: those of `before`, then names of models; a value may also be the plain path of a file."""
    folders = _model_folders(role)
    return ModelOptions([*before, *files.list_models(role, folders)], folders)


def model_path(role: str, name: str) -> Path:
    """The file of a name from `model_files`, or of a plain path. Raises ValueError if there is none."""
    folders = _model_folders(role)
    found = files.find_model(role, folders, name) or _plain_model(name)
    if found is None:
        raise files.missing_model(role, name, folders)
    return found


def model_folder(role: str) -> Path:
    """Where new models of a role go. Raises ValueError for a role without a folder."""
    return files.first_folder(role, _model_folders(role))


class FileOptions(list[str]):
    """A combo's file names; `hint` tells in a refusal what else is allowed and where files belong."""

    def __init__(self, names: Iterable[str], folders: Sequence[Path]) -> None:
        super().__init__(names)
        self.hint = f" or the path of a file (folders: {', '.join(map(str, folders)) or 'none set'})"


class ModelOptions(FileOptions):
    """A combo's model names. Contains plain paths too: validation tests membership, and here paths are allowed."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and _plain_model(name) is not None)


class InputOptions(FileOptions):
    """A combo's input names. Contains whatever `input_file` finds, for the same reason."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and _is_found(input_file, name))


class SequenceOptions(FileOptions):
    """A combo's stills and sequences. Contains whatever `input_sequence` finds."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and _is_found(input_sequence, name))


@contextmanager
def stopped_by_ctrl_c(stop: threading.Event) -> Iterator[None]:
    """Ctrl-C sets the flag, so that nodes stop in order; a second one ends the process. Main thread only."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(130)  # the node does not look at the flag: nothing in order is possible
        stop.set()

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _raise_if_stopped(call: Call) -> None:
    if call.stop.is_set():
        raise Interrupted("interrupted by the user")


def _model_folders(role: str) -> Sequence[Path]:
    files.check_role(role)
    return current().model_folders.get(role, ())


def _plain_model(name: str) -> Path | None:
    path = Path(name)
    return path if name.endswith(files.MODEL_SUFFIXES) and path.is_file() else None


def _annotated(name: str) -> tuple[Path, str]:
    settings = current()
    folders = {"input": settings.input_folder, "output": settings.output_folder, "temp": settings.temp_folder}
    for kind, folder in folders.items():
        if name.endswith(f" [{kind}]"):
            return folder, name.removesuffix(f" [{kind}]")
    return settings.input_folder, name


def _is_found(find: Callable[[str], Path], name: str) -> bool:
    try:
        find(name)
    except ValueError:
        return False
    return True
