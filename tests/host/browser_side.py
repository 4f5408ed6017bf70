"""ComfyUI's front end in a browser without a window: what it shows of workflow files, and what it would run.

Needs Chromium (`chromium` on the path, or CHROMIUM), node, and playwright-core where node finds it (NODE_PATH).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
ADDED = {"audioUI", "video-preview", "format.codec"}
"""Inputs that the front end adds: to core's loaders, which ignore them, and to the Save Video of 0.33, which also takes
the codec beside the format, as older files have it."""
Graph = dict[str, Any]


def _chromium() -> str:
    """Where it is; skips where something is missing."""
    found = shutil.which(os.environ.get("CHROMIUM", "chromium"))
    if found is None:
        pytest.skip("no browser here: expected Chromium as `chromium` on the path, or named by CHROMIUM")
    if shutil.which("node") is None:
        pytest.skip("no browser test here: expected node on the path")
    asked = ["node", "-e", "require('playwright-core')"]
    if subprocess.run(asked, cwd=HERE, capture_output=True, check=False).returncode != 0:
        pytest.skip("no browser test here: expected playwright-core (npm install playwright-core; NODE_PATH)")
    return found


def opened(server: Any, tasks: Sequence[Graph], profile: Path) -> dict[str, Graph]:
    """What is shown of each task's workflow, by its name, in one session of the browser.

    tasks: {name, workflow, picture: a file for a screenshot, or none}.
    """
    command = ["node", str(HERE / "open_workflows.cjs"), server.address, _chromium(), str(profile)]
    ended = subprocess.run(command, input=json.dumps(tasks), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return {found["name"]: found for found in map(json.loads, ended.stdout.splitlines())}


def completed(graph: Graph, described: dict[str, Any]) -> dict[str, Any]:
    """{id: (type, inputs)}, with optional inputs that a file leaves out at the defaults that they run with."""
    found = {}
    for node_id, node in graph.items():
        offered = described[node["class_type"]]["input"].get("optional", {})
        defaults = {name: _default(*given) for name, given in offered.items() if _default(*given) is not None}
        given = {name: value for name, value in node["inputs"].items() if name not in ADDED}
        found[node_id] = (node["class_type"], {**defaults, **given})
    return found


def _default(kind: Any, options: dict[str, Any] | None = None) -> Any:
    return (options or {}).get("default")
