"""`openltx.run(...)`: a workflow file, executed by the standalone host. The command line is built on it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .media.credentials import sidecar
from .media.workplace import work_folder
from .nodes.host.replaced import with_replacements
from .nodes.host.standalone.workflow import check_format, exposed_inputs, read_workflow, set_exposed, set_input
from .nodes.host.state_folder import StateFolder
from .package_version import version

if TYPE_CHECKING:
    from .nodes.host.standalone.runtime import Observer
    from .nodes.host.standalone.settings import Settings

__all__ = ["RunResult", "load_workflow", "prepared", "run", "version", "workflow_names"]

WORKFLOWS = Path(__file__).parent / "workflows" / "api"
Workflow = str | os.PathLike[str] | Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a run left behind: the files that its output nodes saved, and what each of them shows, by node id."""

    files: tuple[Path, ...]
    shown: dict[str, dict[str, Any]]


def run(
    workflow: Workflow = "text_to_av",
    *,
    output: str | os.PathLike[str] | None = None,
    output_folder: str | os.PathLike[str] | None = None,
    settings: Mapping[str, str] | None = None,
    models: Sequence[str | os.PathLike[str]] = (),
    device: str | None = None,
    attention: str = "auto",
    metadata: bool = True,
    observer: Observer | None = None,
    stop: threading.Event | None = None,
    resume: bool = False,
    keep_after: float | None = None,
    **inputs: Any,
) -> RunResult:
    """Execute a workflow: `openltx.run(prompt="a red ball bounces", output="ball.mp4", seed=7)`.

    workflow: the name of a bundled one, the path of an API-format file, or its parsed content. inputs: what the
    workflow exposes, by option name (`-` written as `_`). settings: {"NODE.INPUT": "VALUE"} for every other input,
    NODE an id or a unique title. output: the file to write, for a workflow with one output node; otherwise files are
    numbered in output_folder (default: ./output, made when missing). models: folders in ComfyUI's layout. device:
    "cpu", "cuda", …; default: an accelerator if there is one. attention: which kernels the transformer uses, one of
    model_loaders/attention_kernels.py. metadata: whether saved files carry the workflow and the
    run manifest. resume: go on from the finished steps that an earlier run of the same work has left beside the output,
    with the same result. keep_after: seconds of expected work from which on a stage's finished steps are kept there
    until the run is done; 0: always, -1: never, None: as its node says (60).
    Raises ValueError, one line a problem, for whatever the user can mend; nothing is written then.
    """
    from .nodes.core import CORE_NODES
    from .nodes.host.standalone import executor, schema
    from .nodes.host.standalone.settings import Settings, model_folders_below
    from .nodes.registry import NODES

    registry = schema.registry_of([*NODES, *CORE_NODES])
    prompt = prepared(load_workflow(workflow), registry, inputs, settings or {}, output)
    roots, device = model_roots(models), _usable(device)
    with output_place(output, output_folder) as folder:
        model_folders = model_folders_below(*roots)
        beside = folder if output is None else Path(output).parent
        state = StateFolder(beside, after=keep_after, resume=resume)
        place = Settings(
            output_folder=folder,
            model_folders=model_folders,
            device=device,
            attention=attention,
            metadata=metadata,
            state=state,
        )
        _check_attention(place)
        results = executor.run(prompt, registry, settings=place, observer=observer, stop=stop)
        shown = {node_id: result.ui for node_id, result in results.items()}
        files = [folder / entry["subfolder"] / entry["filename"] for entry in _saved(shown)]
        if output is not None:
            files = [moved(files, Path(output))]
        state.clean()
    return RunResult(files=tuple(files), shown=shown)


def workflow_names() -> list[str]:
    """Names of the bundled workflows."""
    return sorted(path.stem for path in WORKFLOWS.glob("*.json"))


def load_workflow(workflow: Workflow) -> dict[str, Any]:
    """A workflow in API format. Raises ValueError, one line, for a name, file or content that is none."""
    if isinstance(workflow, Mapping):
        return check_format(dict(workflow))
    bundled = WORKFLOWS / f"{os.fspath(workflow)}.json"
    path = Path(workflow)
    if bundled.is_file() and not path.is_file():
        return read_workflow(bundled)
    if not path.is_file():
        names = ", ".join(workflow_names())
        raise ValueError(f"workflow {os.fspath(workflow)!r}: no such file, and not one of the bundled ones: {names}")
    return read_workflow(path)


def prepared(
    prompt: dict[str, Any],
    registry: Mapping[str, Any],
    inputs: Mapping[str, Any],
    settings: Mapping[str, str],
    output: str | os.PathLike[str] | None,
) -> dict[str, Any]:
    """The workflow with the user's inputs in place. Raises ValueError for an input that does not exist."""
    from .nodes.host.standalone.validate import output_nodes

    set_one = partial(set_input, registry=registry)
    prompt = set_exposed(with_replacements(prompt, registry), inputs, set_one)
    if output is not None:
        savers = output_nodes(prompt, registry)
        if len(savers) != 1:
            raise ValueError(f"{output}: this workflow does not save exactly one file; give an output folder instead")
        _check_output(Path(output), prompt[savers[0]]["class_type"])
        if "container" in exposed_inputs(prompt):
            prompt = set_exposed(prompt, {"container": Path(output).suffix.lower().removeprefix(".")}, set_one)
    for target, text in settings.items():
        prompt = set_one(prompt, target, text)
    return prompt


def _check_output(target: Path, saver: str) -> None:
    from .media.codecs import AUDIO_CONTAINERS, containers
    from .media.targets import check_file

    others = {"OpenLTXSaveAudio": tuple(AUDIO_CONTAINERS), "OpenLTXShotTable": (".png",)}
    check_file(target, others.get(saver) or tuple(containers()))


def model_roots(models: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """Folders in ComfyUI's layout: those given, or ./models. Raises ValueError for one that is not there."""
    for root in map(Path, models):
        if not root.is_dir():
            raise ValueError(f"{root}: no such folder; give the folder that holds checkpoints/, text_encoders/ …")
    return [Path(root) for root in models] or [Path("models")]


def _check_attention(place: Settings) -> None:
    """ValueError before the run for kernels that are not there."""
    from .model_loaders.attention_kernels import AUTO, attention_kernel
    from .nodes.host.standalone.runtime import compute_device
    from .nodes.host.standalone.settings import use

    if place.attention != AUTO:
        with use(place):
            attention_kernel(place.attention, compute_device())


def _usable(device: str | None) -> str | None:
    import torch

    try:
        torch.empty(1, device=device or "cpu")
    except (RuntimeError, AssertionError) as error:  # torch says it in either way
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {device!r}: cannot be used here ({reason}); choose another, or 'cpu'") from error
    return device


@contextmanager
def output_place(output: str | os.PathLike[str] | None, output_folder: str | os.PathLike[str] | None) -> Iterator[Path]:
    """The folder that nodes write to. With `output` it is a temporary one beside the target: the file is moved."""
    if output is not None:
        with work_folder(Path(output).parent) as folder:
            yield folder
        return
    folder = Path("output" if output_folder is None else output_folder)
    if output_folder is None:
        folder.mkdir(exist_ok=True)
    elif not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; create it or choose another output folder")
    if not os.access(folder, os.W_OK):
        raise ValueError(f"{folder}: cannot be written; choose another output folder")
    yield folder


def _saved(shown: Mapping[str, Mapping[str, Any]]) -> Iterator[Mapping[str, str]]:
    for ui in shown.values():
        for entries in ui.values():
            yield from (entry for entry in entries if isinstance(entry, Mapping) and entry.get("type") == "output")


def moved(files: Sequence[Path], target: Path) -> Path:
    """The one saved file under the name that the user gave, its sidecar too."""
    if len(files) != 1:
        raise ValueError(f"{target}: expected one saved file, the workflow saved {len(files)}")
    os.replace(files[0], target)
    beside = sidecar(files[0])
    if beside.is_file():
        os.replace(beside, sidecar(target))
    else:  # what stood there was about the file that is replaced
        sidecar(target).unlink(missing_ok=True)
    return target
