"""`openltx run --host comfyui`: the same workflow and options, executed by a ComfyUI checkout without a window."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

from .given import settings
from .queue import is_ui_file, watching, workflow_of


def execute(arguments: argparse.Namespace, inputs: Mapping[str, str]) -> list[Path]:
    """The files that the run saved. Raises as `openltx queue` does, and ValueError for a checkout that is none."""
    from .. import api
    from ..media.workplace import work_folder
    from ..nodes.host.standalone.workflow import exposed_inputs
    from ..remote import job
    from ..remote.checkout import check_checkout, server_of

    if arguments.attention != "auto":
        raise ValueError(f"--attention {arguments.attention}: ComfyUI chooses its own; start it with its own option")
    name, checkout, output = arguments.workflow, _checkout(arguments), arguments.output
    check_checkout(checkout)
    workflow = None if is_ui_file(name) else api.load_workflow(name)  # a mistake in it is found before ComfyUI starts
    if output is not None and workflow is not None and "container" in exposed_inputs(workflow):
        inputs = {**inputs, "container": Path(output).suffix.lower().removeprefix(".")}
    options = {"device": arguments.device, "metadata": not arguments.no_metadata}
    models = api.model_roots(arguments.models)
    with api.output_place(output, arguments.output_folder) as folder, watching() as watch:
        with work_folder(folder) as place, server_of(checkout, place, models=models, stop=watch.stop, **options) as it:
            workflow = workflow or workflow_of(name, it)
            if output is not None and len(job.saving_nodes(it, workflow)) != 1:
                raise ValueError(
                    f"{output}: this workflow does not save exactly one file; give an output folder instead"
                )
            files = job.execute(it, workflow, inputs, settings(arguments.set), folder, watch)
        if output is not None and Path(output).suffix.lower() not in {file.suffix for file in files}:
            raise ValueError(f"{output}: this workflow saves {files[0].suffix}; name the file so, or set its container")
        return files if output is None else [api.moved(files, Path(output))]


def _checkout(arguments: argparse.Namespace) -> Path:
    path = arguments.comfyui or os.environ.get("COMFYUI_PATH", "").split(os.pathsep)[0]  # tests name several
    if not path:
        raise ValueError("--host comfyui: expected --comfyui DIR or COMFYUI_PATH, found neither")
    return Path(path).absolute()
