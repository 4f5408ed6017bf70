"""`openltx run --host comfyui`: the same workflow and options, executed by a ComfyUI checkout without a window."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

from .given import settings
from .queue import watching


def execute(arguments: argparse.Namespace, inputs: Mapping[str, str]) -> list[Path]:
    """The files that the run saved. Raises as `openltx queue` does, and ValueError for a checkout that is none."""
    from .. import api
    from ..media.workplace import work_folder
    from ..nodes.host.standalone.workflow import exposed_inputs
    from ..remote import job
    from ..remote.checkout import check_checkout, server_of

    workflow, checkout, output = api.load_workflow(arguments.workflow), _checkout(arguments), arguments.output
    check_checkout(checkout)
    if output is not None and "container" in exposed_inputs(workflow):
        inputs = {**inputs, "container": Path(output).suffix.lower().removeprefix(".")}
    options = {"device": arguments.device, "metadata": not arguments.no_metadata}
    models = api.model_roots(arguments.models)
    with api.output_place(output, arguments.output_folder) as folder, watching() as watch:
        with work_folder(folder) as place, server_of(checkout, place, models=models, stop=watch.stop, **options) as it:
            if output is not None and len(job.saving_nodes(it, workflow)) != 1:
                raise ValueError(
                    f"{output}: this workflow does not save exactly one file; give an output folder instead"
                )
            files = job.execute(it, workflow, inputs, settings(arguments.set), folder, watch)
        return files if output is None else [api.moved(files, Path(output))]


def _checkout(arguments: argparse.Namespace) -> Path:
    path = arguments.comfyui or os.environ.get("COMFYUI_PATH")
    if not path:
        raise ValueError("--host comfyui: expected --comfyui DIR or COMFYUI_PATH, found neither")
    return Path(path).absolute()
