"""`openltx queue`: a workflow on a ComfyUI server that is already running."""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .given import exposed_values, settings

if TYPE_CHECKING:
    from ..remote.job import Watch
    from ..remote.server import Server

HELP = "run a workflow on a ComfyUI server and fetch what it saves"


def add(command: argparse.ArgumentParser) -> None:
    command.add_argument("workflow", metavar="WORKFLOW.json", help="a file in API or UI format, or a bundled name")
    command.add_argument("--server", required=True, metavar="URL", help="http://HOST:PORT")
    command.add_argument(
        "--auth",
        metavar="HEADER",
        default=os.environ.get("OPENLTX_AUTH"),
        help="'Name: value', or the value of the Authorization header; default: OPENLTX_AUTH of the environment",
    )
    command.add_argument("--output-folder", metavar="DIR", help="where the files go; default: ./output")
    command.add_argument("--set", action="append", default=[], metavar="NODE.INPUT=VALUE", help="any other input")
    command.add_argument("--json", action="store_true", help="print the result as JSON")


def run(arguments: argparse.Namespace) -> int:
    from ..api import output_place
    from ..remote.job import execute
    from ..remote.server import Server

    server = Server(arguments.server, arguments.auth)
    workflow = workflow_of(arguments.workflow, server)
    with output_place(None, arguments.output_folder) as folder, watching() as watch:
        inputs = exposed_values(arguments), settings(arguments.set)
        files = [str(file) for file in execute(server, workflow, *inputs, folder, watch)]
    print(json.dumps({"files": files}) if arguments.json else "\n".join(files))
    return 0


def is_ui_file(workflow: str) -> bool:
    """Whether the word names a file in UI format, which exposes no options."""
    from ..nodes.host.standalone.workflow import is_ui_format, read_json

    return Path(workflow).is_file() and is_ui_format(read_json(workflow))


def workflow_of(name: str, server: Server) -> dict[str, Any]:
    """In API format, whatever the file has; the server says what a UI file's values are called."""
    from ..api import load_workflow
    from ..nodes.host.standalone.workflow import read_json
    from ..remote.from_ui import api_format

    if not is_ui_file(name):
        return load_workflow(name)
    try:
        return api_format(read_json(name), server.described)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"{name}: expected a workflow as ComfyUI saves it, found a broken one ({error!r})") from error


@contextmanager
def watching() -> Iterator[Watch]:
    """Lines and bars on stderr; Ctrl-C stops the job."""
    from ..nodes.host.standalone.bars import Bars
    from ..nodes.host.standalone.runtime import stopped_by_ctrl_c
    from ..remote.job import Watch

    stop = threading.Event()
    with stopped_by_ctrl_c(stop), Bars() as bars:
        yield Watch(say=_say, part=bars.part, stop=stop.is_set)


def _say(text: str) -> None:
    print(f"openltx: {text}", file=sys.stderr, flush=True)
