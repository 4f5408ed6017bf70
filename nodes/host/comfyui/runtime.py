"""What a running node asks of ComfyUI; same names and behaviour as `standalone/runtime.py`.

Source: comfyui_host.md section 4.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import comfy.model_management
import comfy.utils
import folder_paths
from comfy.cli_args import args
from comfy.nested_tensor import NestedTensor
from comfy_api.latest import io, ui
from comfy_execution.utils import get_executing_context

from .. import files
from ..files import MediaKind, OutputFile
from ..state_folder import DONE, StateFolder

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

__all__ = [
    "NestedTensor",
    "attention_wanted",
    "check_interrupted",
    "compute_device",
    "input_file",
    "input_files",
    "input_sequence",
    "input_sequences",
    "io",
    "metadata_wanted",
    "model_files",
    "model_folder",
    "model_path",
    "output_file",
    "progress",
    "state_folder",
    "ui",
    "warn_user",
]


class Progress:
    """A node's progress in ComfyUI's interface, also as `with progress(total) as steps:`."""

    def __init__(self, total: int) -> None:
        self._bar: Any = comfy.utils.ProgressBar(total)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *failure: object) -> None:
        """Nothing to close."""

    def update(self, steps: int = 1) -> None:
        """Report `steps` more."""
        self.update_absolute(self._bar.current + steps)

    def update_absolute(self, value: int, total: int | None = None, preview: Image | None = None) -> None:
        """Report `value` of `total` (unchanged if None). Raises ComfyUI's interruption if the user asked to stop."""
        check_interrupted()  # the bar's own check exists in the server only, not where the executor runs in-process
        shown = None if preview is None else ("JPEG", preview, args.preview_size)
        self._bar.update_absolute(value, total, shown)


def progress(total: int) -> Progress:
    """The progress of the node that is running, counted in `total` steps."""
    return Progress(total)


def check_interrupted() -> None:
    """For loops without progress: raises ComfyUI's interruption (a BaseException) if the user asked to stop."""
    comfy.model_management.throw_exception_if_processing_interrupted()


def warn_user(text: str) -> None:
    """Tell the user one line, in ComfyUI's log."""
    logging.warning("OpenLTX: %s", text)


def attention_wanted() -> str:
    """Which attention kernels the transformer is to use: what ComfyUI was started with, else the best exact one."""
    if comfy.model_management.sage_attention_enabled():
        return "sage"
    return "flash2" if comfy.model_management.flash_attention_enabled() else "auto"


def metadata_wanted() -> bool:
    """Whether saved files may carry the workflow and what belongs to it: ComfyUI's --disable-metadata."""
    return not args.disable_metadata


_states: dict[str, StateFolder] = {}  # of the prompt that sampled last, by its id


def state_folder() -> StateFolder:
    """Where stages keep their finished steps: in ComfyUI's output folder.

    Nobody tells a node that its prompt is done: the stages that one has finished are forgotten when another samples.
    """
    context = get_executing_context()
    prompt_id = "" if context is None else context.prompt_id
    if prompt_id not in _states:
        for former in _states.values():
            former.clean(DONE)
        _states.clear()
        _states[prompt_id] = StateFolder(Path(folder_paths.get_output_directory()))
    return _states[prompt_id]


def compute_device() -> torch.device:
    """The device that ComfyUI computes on."""
    device: torch.device = comfy.model_management.get_torch_device()
    return device


def output_file(prefix: str, suffix: str, *, temporary: bool = False) -> OutputFile:
    """A free file name `<prefix>_<5 digits>_<suffix>` in ComfyUI's output (or temporary) folder.

    Raises ValueError for a prefix that leaves the folder.
    """
    if temporary:
        return files.next_output(Path(folder_paths.get_temp_directory()), prefix, suffix, type="temp")
    return files.next_output(Path(folder_paths.get_output_directory()), prefix, suffix)


def input_file(name: str) -> Path:
    """The file of a media input: a name in ComfyUI's input folder, `name [output]`, or one of the package's samples.

    Plain paths are refused: whoever reaches the server could read any file. Raises ValueError if there is no such file.
    """
    bare, annotated = folder_paths.annotated_filepath(name)
    folder = Path(annotated or folder_paths.get_input_directory())
    found = files.inside(folder, bare) or files.inside(files.SAMPLE_INPUTS, bare)
    if found is None:
        raise ValueError(f"input file: expected a file in {folder}, found {name!r}")
    return found


def input_files(kind: MediaKind) -> list[str]:
    """Names to choose from, as options of a combo."""
    return files.media_files([Path(folder_paths.get_input_directory()), files.SAMPLE_INPUTS], kind)


def input_sequences(suffix: str) -> list[str]:
    """Names of stills and of folders with numbered ones, as options of a combo."""
    return files.sequences([Path(folder_paths.get_input_directory())], suffix)


def input_sequence(name: str) -> Path:
    """As `input_file`, for a file or a folder with files. Raises ValueError if there is neither."""
    bare, annotated = folder_paths.annotated_filepath(name)
    folder = Path(annotated or folder_paths.get_input_directory())
    found = files.inside(folder, bare, folders=True)
    if found is None:
        raise ValueError(f"input: expected a file or a folder in {folder}, found {name!r}")
    return found


def model_files(role: str, *, before: Sequence[str] = ()) -> list[str]:
    """Options of a combo: those of `before`, then names from ComfyUI's folders of this role and the embedded models."""
    return [*before, *files.list_models(role, _model_folders(role))]


def model_path(role: str, name: str) -> Path:
    """The file of a name from `model_files`. Raises ValueError if there is none."""
    folders = _model_folders(role)
    found = files.find_model(role, folders, name)
    if found is None:
        raise files.missing_model(role, name, folders)
    return found


def model_folder(role: str) -> Path:
    """Where new models of a role go: ComfyUI's first folder for it. Raises ValueError for a role without one."""
    return files.first_folder(role, _model_folders(role))


def _model_folders(role: str) -> Sequence[Path]:
    """Not ComfyUI's own listing: that one has no `.gguf` and has pickles."""
    files.check_role(role)
    known = role in folder_paths.folder_names_and_paths  # an older ComfyUI lacks the newest roles
    return [Path(folder) for folder in folder_paths.get_folder_paths(role)] if known else []
