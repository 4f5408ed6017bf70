"""One workflow on a ComfyUI server: its input files uploaded, queued, followed to its end, the saved files fetched.

Everything goes by an id of the job's own, so that clients of one server do not meet.
"""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from ..media.workplace import work_folder
from ..nodes.host.files import SAMPLE_INPUTS, inside, next_output
from ..nodes.host.standalone.validate import title_of
from ..nodes.host.standalone.workflow import Kind, set_exposed, set_value
from .described import Widget, walk
from .events import heard
from .server import Refused, Server

Prompt = dict[str, Any]
PAUSE, PATIENCE, GONE = 0.2, 60.0, 5  # seconds between questions, seconds without an answer, answers without the job


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Who follows a job. say: takes a line. part: takes a node's title, done and total, in another thread.

    stop: asked all the time; once true, the job is taken off the server.
    """

    say: Callable[[str], None]
    part: Callable[[str, int, int], None]
    stop: Callable[[], bool]


def execute(
    server: Server,
    workflow: Prompt,
    inputs: Mapping[str, Any],
    settings: Mapping[str, str],
    folder: Path,
    watch: Watch,
) -> list[Path]:
    """`filled`, `with_uploads` and `run_job` in one."""
    prompt = filled(server, workflow, inputs, settings)
    return run_job(server, with_uploads(server, prompt, workflow, watch), folder, watch)


def run_job(server: Server, prompt: Prompt, folder: Path, watch: Watch) -> list[Path]:
    """Queue the workflow and wait. Returns the files that its nodes saved, now in `folder`.

    Raises ValueError (one line a problem)
    where the server finds the workflow wrong, RuntimeError or OSError where it fails, KeyboardInterrupt when stopped.
    """
    job, client = str(uuid.uuid4()), uuid.uuid4().hex
    try:
        with heard(server, client, partial(_show, prompt, job, watch)):
            _queue(server, job, client, prompt)
            ended = _end(server, job, watch)
    except BaseException:
        with suppress(OSError, RuntimeError, ValueError):
            _cancel(server, job)
        raise
    _check_success(prompt, ended)
    return _fetched(server, ended, folder, watch)


# inputs


def filled(server: Server, prompt: Prompt, inputs: Mapping[str, Any], settings: Mapping[str, str]) -> Prompt:
    """The workflow with exposed inputs and NODE.INPUT settings in place, converted by what the server's nodes take."""

    def kinds(node: Mapping[str, Any]) -> dict[str, Kind]:
        return {widget.name: (widget.io_type, widget.options) for widget in _widgets(server, node)}

    set_one = partial(set_value, kinds=kinds)
    prompt = set_exposed(prompt, inputs, set_one)
    for target, text in settings.items():
        prompt = set_one(prompt, target, text)
    return prompt


def with_uploads(server: Server, prompt: Prompt, given: Prompt, watch: Watch) -> Prompt:
    """The workflow with the files that it names sent to the server, under the names that they have there.

    given: the workflow as its file has it. A name that stands there is looked for in ./input and among the package's
    samples only, so that a workflow from elsewhere cannot send any file of this machine; what the user changed may be
    any path. A name that is no file here stays: the server may have it.
    """
    sent: dict[Path, str] = {}
    changed = {node_id: {**node, "inputs": dict(node["inputs"])} for node_id, node in prompt.items()}
    for node_id, node in changed.items():
        for name in [widget.name for widget in _widgets(server, node) if widget.uploads]:
            value = node["inputs"].get(name)
            if not isinstance(value, str) or value.endswith((" [output]", " [temp]")):
                continue
            file = _local(value.removesuffix(" [input]"), of_the_user=value != given[node_id]["inputs"].get(name))
            if file is not None:
                if file not in sent:
                    watch.say(f"sending {file.name} ({file.stat().st_size / 1e6:.1f} MB)")
                    sent[file] = server.upload(file)
                node["inputs"][name] = sent[file]
    return changed


def saving_nodes(server: Server, prompt: Prompt) -> list[str]:
    """Ids of the nodes that the server runs a workflow for."""
    return [node_id for node_id, node in prompt.items() if _described(server, node).get("output_node")]


def _widgets(server: Server, node: Mapping[str, Any]) -> list[Widget]:
    return list(walk(_described(server, node), node["inputs"]))


def _described(server: Server, node: Mapping[str, Any]) -> dict[str, Any]:
    entry = server.described(node["class_type"])
    if entry is None:
        raise ValueError(f"{server.address}: it has no node type {node['class_type']!r}; install its pack there")
    return entry


def _local(name: str, *, of_the_user: bool) -> Path | None:
    found = inside(Path("input"), name) or inside(SAMPLE_INPUTS, name)
    return Path(name) if found is None and of_the_user and Path(name).is_file() else found


# the job on the server


def _queue(server: Server, job: str, client: str, prompt: Prompt) -> None:
    try:
        answer = server.post("/prompt", {"prompt": prompt, "client_id": client, "prompt_id": job})
    except Refused as error:
        if error.status != 400 or not isinstance(error.content, dict):
            raise
        raise ValueError("\n".join(_problems(prompt, error.content))) from error
    if answer.get("node_errors"):  # it would run what is left of the workflow
        raise ValueError("\n".join(_problems(prompt, answer)))


def _problems(prompt: Prompt, answer: Mapping[str, Any]) -> list[str]:
    """One line for each mistake that the server found, led by the node's title."""
    lines = []
    for node_id, found in (answer.get("node_errors") or {}).items():
        name = _title(prompt, node_id, found.get("class_type", node_id))
        lines += [f"{name} (node {node_id}): {_line(problem)}" for problem in found["errors"]]
    error = answer.get("error") or {}
    return lines or [_line(error) if isinstance(error, dict) else str(error)]


def _line(problem: Mapping[str, Any]) -> str:
    return " ".join(": ".join(filter(None, (problem.get("message"), problem.get("details")))).split())


def _end(server: Server, job: str, watch: Watch) -> dict[str, Any]:
    """The history of the job. A server that is slow to answer is asked again for PATIENCE seconds."""
    answered, told, missed = time.monotonic(), "", 0
    while missed < GONE:
        if watch.stop():
            raise KeyboardInterrupt
        try:
            ended = server.get(f"/history/{job}").get(job)
            place = None if ended else _place(server.get("/queue"), job)
            answered = time.monotonic()
        except OSError:
            if time.monotonic() - answered > PATIENCE:
                raise
            time.sleep(PAUSE)
            continue
        if ended:
            return dict(ended)
        missed = missed + 1 if place is None else 0
        if place is not None and place != told:
            told = place
            watch.say(place)
        time.sleep(PAUSE)
    raise RuntimeError(f"{server.address}: the job is neither queued nor done there; was the server started again?")


def _show(prompt: Prompt, job: str, watch: Watch, kind: str, data: Mapping[str, Any]) -> None:
    """A node's progress, of this job alone."""
    if kind == "progress" and data.get("prompt_id") == job:
        watch.part(_title(prompt, str(data.get("node")), "a node"), int(data["value"]), int(data["max"]))


def _title(prompt: Prompt, node_id: str, otherwise: str) -> str:
    return title_of(prompt.get(node_id, {})) or otherwise


def _place(queue: Mapping[str, Any], job: str) -> str | None:
    """Where the job stands, in words; None if it does not."""
    if any(row[1] == job for row in queue["queue_running"]):
        return "running"
    pending = sorted(queue["queue_pending"], key=lambda row: row[0])
    before = next((index for index, row in enumerate(pending) if row[1] == job), None)
    return None if before is None else f"queued behind {before + len(queue['queue_running'])}"


def _cancel(server: Server, job: str) -> None:
    """Take the job off the server, and no other's: an old server that gets /interrupt stops whatever runs."""
    server.post("/queue", {"delete": [job]})
    if _place(server.get("/queue"), job) == "running":
        server.post("/interrupt", {"prompt_id": job})


def _check_success(prompt: Prompt, ended: Mapping[str, Any]) -> None:
    status = ended["status"]
    if status["status_str"] == "success":
        return
    messages = {name: content for name, content in status["messages"]}
    if "execution_interrupted" in messages:
        raise RuntimeError("interrupted on the server")
    error = messages.get("execution_error", {})
    node_id = error.get("node_id", "")
    name = _title(prompt, node_id, error.get("node_type", "a node"))
    lines = str(error.get("exception_message") or "it failed without a message").strip().splitlines()
    raise RuntimeError(f"{name} (node {node_id}): {lines[0]}")


# outputs


def _fetched(server: Server, ended: Mapping[str, Any], folder: Path, watch: Watch) -> list[Path]:
    files = []
    with work_folder(folder) as place:
        for entry in saved_entries(ended["outputs"]):
            part = place / "part"
            server.download(entry, part)
            target = _free(folder, entry)
            os.replace(part, target)
            files.append(target)
    if not files:
        watch.say("warning: the workflow saved no file")
    return files


def saved_entries(outputs: Mapping[str, Mapping[str, Any]]) -> Iterator[Mapping[str, str]]:
    """What nodes reported as saved in the output folder (previews are in the temporary one)."""
    for ui in outputs.values():
        for entries in ui.values():
            for entry in entries if isinstance(entries, list) else ():
                if isinstance(entry, Mapping) and entry.get("type") == "output" and "filename" in entry:
                    yield entry


def _free(folder: Path, entry: Mapping[str, str]) -> Path:
    """A new name in `folder` like the server's: `clip_00007_.mp4` there is `clip_00001_.mp4` where there is none."""
    name = PurePosixPath(str(entry.get("subfolder") or "").replace("\\", "/")) / entry["filename"].replace("\\", "/")
    stem = re.sub(r"_\d+_?$", "", name.stem) or name.stem
    try:
        return next_output(folder, str(name.with_name(stem)), name.suffix).path
    except ValueError as error:
        raise RuntimeError(f"the server named a file that leads out of {folder}: {name}") from error
