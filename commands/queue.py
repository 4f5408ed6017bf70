"""`openltx queue`: a workflow on a ComfyUI server that is already running."""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading

from .given import exposed_values, settings

HELP = "run a workflow on a ComfyUI server and fetch what it saves"


def add(command: argparse.ArgumentParser) -> None:
    command.add_argument("workflow", metavar="WORKFLOW.json", help="a file, or the name of a bundled workflow")
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
    from ..api import load_workflow, output_place
    from ..nodes.host.standalone.runtime import stopped_by_ctrl_c
    from ..remote.job import execute
    from ..remote.server import Server

    workflow, server = load_workflow(arguments.workflow), Server(arguments.server, arguments.auth)
    stop = threading.Event()
    with output_place(None, arguments.output_folder) as folder, stopped_by_ctrl_c(stop):
        inputs = exposed_values(arguments), settings(arguments.set)
        files = [str(file) for file in execute(server, workflow, *inputs, folder, say, stop.is_set)]
    print(json.dumps({"files": files}) if arguments.json else "\n".join(files))
    return 0


def say(text: str) -> None:
    print(f"openltx: {text}", file=sys.stderr, flush=True)
