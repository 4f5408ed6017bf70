"""`openltx queue` against a small server that speaks ComfyUI's endpoints: what it sends, fetches, says and returns."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from openltx.api import WORKFLOWS, load_workflow, workflow_names
from openltx.cli import main
from openltx.nodes.core import CORE_NODES
from openltx.nodes.host.standalone.info import info
from openltx.nodes.host.standalone.schema import registry_of
from openltx.nodes.registry import NODES
from openltx.remote.described import walk
from openltx.remote.from_ui import api_format
from openltx.remote.job import Watch, run_job
from openltx.remote.server import Server

REGISTRY = registry_of([*NODES, *CORE_NODES])
SAVED = {"filename": "clip_00007_.mp4", "subfolder": "", "type": "output"}
PREVIEW = {"filename": "look.png", "subfolder": "", "type": "temp"}


class Fake(ThreadingHTTPServer):
    """Its answers can be changed by a test; what it was asked is in `posts`, `uploads` and `headers_seen`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.posts: list[tuple[str, Any]] = []
        self.uploads: dict[str, bytes] = {}
        self.headers_seen: list[dict[str, str]] = []
        self.jobs: dict[str, dict[str, Any]] = {}
        self.asked: dict[str, int] = {}  # how often each job was asked for
        self.needed = 2  # questions until a job is done
        self.outputs: dict[str, Any] = {"9": {"images": [SAVED, PREVIEW], "animated": [True]}}
        self.status: dict[str, Any] = {"status_str": "success", "completed": True, "messages": []}
        self.prompt_answer: tuple[int, Any] | None = None
        self.told: list[tuple[int, str]] | None = None  # frames of the web socket: first byte, text
        self.listeners: list[str] = []
        self.content, self.password, self.redirect = b"a video", "", ""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def posted(self, path: str) -> list[Any]:
        return [content for place, content in self.posts if place == path]


class _Handler(BaseHTTPRequestHandler):
    server: Fake

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self._turned_away():
            return
        place = urlsplit(self.path)
        match place.path.strip("/").split("/"):
            case ["object_info", name]:
                self._json(200, {name: info(REGISTRY[name])} if name in REGISTRY else {})
            case ["history", job]:
                self._history(job)
            case ["ws"]:
                self._web_socket()
            case ["queue"]:
                self._json(200, {"queue_running": [[0, job] for job in self.server.jobs], "queue_pending": []})
            case ["view"]:
                query = {name: values[0] for name, values in parse_qs(place.query).items()}
                assert query["type"] == "output", query
                self._bytes(200, self.server.content)
            case _:
                self._json(404, {})

    def _web_socket(self) -> None:
        """What is in `told`, with the id of the first job where it says JOB; a refusal where that is None."""
        if self.server.told is None:
            return self._json(404, {})
        self.server.listeners.append(parse_qs(urlsplit(self.path).query)["clientId"][0])
        self.protocol_version = "HTTP/1.1"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.end_headers()
        while not self.server.jobs:
            time.sleep(0.01)
        (job, *_) = self.server.jobs
        for opcode, text in self.server.told:
            content = text.replace("JOB", job).encode()
            size = bytes([len(content)]) if len(content) < 126 else b"\x7e" + len(content).to_bytes(2, "big")
            self.wfile.write(bytes([opcode]) + size + content)
        self.wfile.flush()
        self.close_connection = True

    def _history(self, job: str) -> None:
        server = self.server
        server.asked[job] = server.asked.get(job, 0) + 1
        if job in server.jobs and server.asked[job] >= server.needed:
            self._json(200, {job: {"outputs": server.outputs, "status": server.status}})
        else:
            self._json(200, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self._turned_away():
            return
        if self.path == "/upload/image":
            return self._upload(body)
        content = json.loads(body)
        self.server.posts.append((self.path, content))
        if self.path != "/prompt":
            return self._bytes(200, b"")
        if self.server.prompt_answer is not None:
            return self._json(*self.server.prompt_answer)
        self.server.jobs[content["prompt_id"]] = content["prompt"]
        self._json(200, {"prompt_id": content["prompt_id"], "number": 1, "node_errors": {}})

    def _upload(self, body: bytes) -> None:
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        fields = {part.get_param("name", header="content-disposition"): part for part in _parts(head + body)}
        assert fields["type"].get_payload(decode=True) == b"input"
        name = str(fields["image"].get_filename())
        stored = f"{len(self.server.uploads)} {name}"
        self.server.uploads[stored] = fields["image"].get_payload(decode=True)
        self._json(200, {"name": stored, "subfolder": "", "type": "input"})

    def _turned_away(self) -> bool:
        self.server.headers_seen.append(dict(self.headers))
        if self.server.redirect:
            self.send_response(302)
            self.send_header("Location", self.server.redirect)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.server.password and self.headers.get("Authorization") != self.server.password:
            self._json(401, {})
        else:
            return False
        return True

    def _json(self, status: int, content: Any) -> None:
        self._bytes(status, json.dumps(content).encode())

    def _bytes(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _parts(message: bytes) -> list[Any]:
    return list(message_from_bytes(message).get_payload())


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    monkeypatch.chdir(tmp_path)
    server = Fake()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def queue(fake: Fake, *words: str) -> int:
    workflow, *options = words
    return main(["queue", workflow, "--server", fake.address, *options])


def refused(fake: Fake, code: int, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The lines on stderr of a command that ends with `code`, without those that say where the job stands."""
    assert queue(fake, *words) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    return "\n".join(line for line in lines if line != "openltx: running")


def test_a_workflow_is_queued_and_its_files_are_fetched(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    assert queue(fake, "text_to_av", "--prompt", "a cat", "--frames", "17", "--set", "Sample.noise_seed=7") == 0
    captured = capsys.readouterr()
    assert captured.out.split() == ["output/clip_00001_.mp4"]
    assert "running" in captured.err
    assert Path("output/clip_00001_.mp4").read_bytes() == b"a video"
    (sent,) = fake.posted("/prompt")
    assert sent["prompt"]["2"]["inputs"]["text"] == "a cat"
    assert sent["prompt"]["4"]["inputs"]["frames"] == 17
    assert sent["prompt"]["6"]["inputs"]["noise_seed"] == 7
    assert sent["client_id"]
    assert [path for path, _ in fake.posts] == ["/prompt"]


def test_a_file_that_is_there_is_not_replaced(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    Path("here").mkdir()
    for _ in range(2):
        assert queue(fake, "text_to_av", "--output-folder", "here", "--json") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["files"] for line in lines] == [["here/clip_00001_.mp4"], ["here/clip_00002_.mp4"]]
    assert sorted(os.listdir("here")) == ["clip_00001_.mp4", "clip_00002_.mp4"]


def test_input_files_are_sent(fake: Fake) -> None:
    Path("mine.png").write_bytes(b"\x89PNG\r\n--x\r\n")
    assert queue(fake, "image_to_av", "--image", "mine.png") == 0
    assert fake.uploads == {"0 mine.png": b"\x89PNG\r\n--x\r\n"}
    prompt = fake.posted("/prompt")[0]["prompt"]
    assert [node["inputs"]["image"] for node in prompt.values() if node["class_type"] == "LoadImage"] == ["0 mine.png"]


def test_a_workflow_cannot_send_what_it_names_outside_the_input_folder(fake: Fake) -> None:
    Path("secret.png").write_bytes(b"secret")
    Path("input").mkdir()
    Path("input/fine.png").write_bytes(b"fine")
    for name in ("secret.png", "../secret.png", str(Path("secret.png").absolute()), "fine.png"):
        prompt = load_workflow("image_to_av")
        (loader,) = (node for node in prompt.values() if node["class_type"] == "LoadImage")
        loader["inputs"]["image"] = name
        Path("w.json").write_text(json.dumps(prompt))
        assert queue(fake, "w.json") == 0
    assert list(fake.uploads.values()) == [b"fine"]


def test_auth(fake: Fake, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    fake.password = "Bearer abc"
    assert "give --auth" in refused(fake, 2, capsys, "text_to_av")
    assert queue(fake, "text_to_av", "--auth", "Bearer abc") == 0
    assert queue(fake, "text_to_av", "--auth", "Authorization: Bearer abc") == 0
    monkeypatch.setenv("OPENLTX_AUTH", "Bearer abc")
    assert queue(fake, "text_to_av") == 0
    fake.password = ""
    assert queue(fake, "text_to_av", "--auth", "X-Api-Key: k") == 0
    assert fake.headers_seen[-1]["X-Api-Key"] == "k"
    capsys.readouterr()
    assert "one line" in refused(fake, 2, capsys, "text_to_av", "--auth", "a\nb: c")


def test_nothing_else_is_asked(fake: Fake, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a proxy of the environment nor the place that a redirect names."""
    other = Fake()
    threading.Thread(target=other.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("http_proxy", other.address)
    assert queue(fake, "text_to_av", "--auth", "Bearer abc") == 0
    capsys.readouterr()
    fake.redirect = other.address
    assert f"a redirect to {other.address}" in refused(fake, 2, capsys, "text_to_av")
    assert other.headers_seen == []
    other.shutdown()
    other.server_close()


NODE_ERRORS = {
    "4": {"class_type": "OpenLTXEmptyAVLatent", "errors": [{"message": "Too small", "details": "width 0"}]},
    "6": {
        "class_type": "OpenLTXSample",
        "errors": [{"message": "No", "details": ""}, {"message": "b", "details": "c"}],
    },
}
LINES = "openltx: Size (node 4): Too small: width 0\nSample (node 6): No\nSample (node 6): b: c"


def test_what_the_server_finds_wrong(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    error = {"message": "Prompt has no outputs", "details": ""}
    fake.prompt_answer = (400, {"error": error, "node_errors": NODE_ERRORS})
    assert refused(fake, 2, capsys, "text_to_av") == LINES
    fake.prompt_answer = (400, {"error": error, "node_errors": {}})
    assert refused(fake, 2, capsys, "text_to_av") == "openltx: Prompt has no outputs"


def test_half_a_workflow_is_not_run(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    """ComfyUI accepts a workflow of which some outputs are wrong, and runs the rest."""
    fake.prompt_answer = (200, {"prompt_id": "x", "number": 1, "node_errors": NODE_ERRORS})
    assert refused(fake, 2, capsys, "text_to_av") == LINES
    job = fake.posted("/prompt")[0]["prompt_id"]
    assert fake.posted("/queue") == [{"delete": [job]}]


def failed(kind: str, **content: Any) -> dict[str, Any]:
    return {"status_str": "error", "completed": False, "messages": [["execution_start", {}], [kind, content]]}


def test_failures_on_the_server(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.status = failed("execution_error", node_id="7", node_type="X", exception_message="out of memory\nmore\n")
    assert refused(fake, 1, capsys, "text_to_av") == "openltx: Decode Video (node 7): out of memory"
    fake.status = failed("execution_interrupted", node_id="7")
    assert refused(fake, 1, capsys, "text_to_av") == "openltx: interrupted on the server"
    fake.prompt_answer = (500, "a page")
    assert refused(fake, 1, capsys, "text_to_av").endswith("500 Internal Server Error")


def test_a_job_that_the_server_forgot(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.prompt_answer = (200, {"prompt_id": "x", "number": 1, "node_errors": {}})
    assert "neither queued nor done" in refused(fake, 1, capsys, "text_to_av")


@pytest.mark.parametrize(
    ("filename", "subfolder"),
    [("../x.mp4", ""), ("x.mp4", ".."), ("x.mp4", "/tmp"), ("..\\..\\x.mp4", ""), ("x.mp4", "a/../../b"), ("", "")],
)
def test_the_server_cannot_write_elsewhere(
    fake: Fake, capsys: pytest.CaptureFixture[str], filename: str, subfolder: str
) -> None:
    fake.outputs = {"9": {"images": [{"filename": filename, "subfolder": subfolder, "type": "output"}]}}
    assert "leads out of output" in refused(fake, 1, capsys, "text_to_av")
    assert os.listdir() == ["output"]
    assert os.listdir("output") == []


@pytest.mark.parametrize("address", ["127.0.0.1:8188", "ftp://x", "http://", "http://me:secret@x", "http://x?y"])
def test_bad_addresses(address: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["queue", "text_to_av", "--server", address, "--output-folder", str(tmp_path)]) == 2
    assert "--server: expected http://HOST:PORT" in capsys.readouterr().err


def test_nobody_answers(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    address = fake.address
    fake.shutdown()
    fake.server_close()
    assert main(["queue", "text_to_av", "--server", address]) == 1
    assert f"{address}: no ComfyUI answers there" in capsys.readouterr().err


def test_a_node_type_that_the_server_lacks(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    Path("w.json").write_text('{"1": {"class_type": "Foreign", "inputs": {}, "_meta": {"title": "x"}}}')
    assert "it has no node type 'Foreign'" in refused(fake, 2, capsys, "w.json")


def test_an_interrupt_takes_this_job_off_the_server(fake: Fake) -> None:
    fake.needed, fake.jobs["another"] = 1_000_000, {}
    command = [sys.executable, "-m", "openltx", "queue", "text_to_av", "--server", fake.address]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while len(fake.asked) < 1 and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 130, text
    job = fake.posted("/prompt")[0]["prompt_id"]
    assert fake.posted("/queue") == [{"delete": [job]}]
    assert fake.posted("/interrupt") == [{"prompt_id": job}]


def test_two_clients_share_nothing(fake: Fake) -> None:
    for _ in range(2):
        assert queue(fake, "text_to_av") == 0
    first, second = fake.posted("/prompt")
    assert first["client_id"] != second["client_id"]
    assert first["prompt_id"] != second["prompt_id"]
    assert sorted(fake.asked) == sorted([first["prompt_id"], second["prompt_id"]])


# progress

FRAMES = [
    (0x81, '{"type": "status", "data": {"sid": "x"}}'),
    (0x82, "a preview, in binary"),
    (0x81, '{"type": "progress", "data": {"value": 1, "max": 4, "node": "6", "prompt_id": "JOB"}}'),
    (0x81, '{"type": "progress", "data": {"value": 9, "max": 9, "node": "6", "prompt_id": "of somebody else"}}'),
    (0x01, '{"type": "progress", "data": {"value": 4, "max": 4,'),
    (0x80, ' "node": "7", "prompt_id": "JOB", "x": "' + "y" * 200 + '"}}'),
    (0x88, ""),
    (0x81, '{"type": "progress", "data": {"value": 5, "max": 4, "node": "7", "prompt_id": "JOB"}}'),
]


def test_progress_is_heard_as_the_client_that_queued(fake: Fake) -> None:
    fake.told, fake.needed, seen = FRAMES, 5, []

    def part(title: str, done: int, total: int) -> None:
        seen.append((title, done, total))

    Path("output").mkdir()
    watch = Watch(say=lambda text: None, part=part, stop=lambda: False)
    assert run_job(Server(fake.address), load_workflow("text_to_av"), Path("output"), watch)
    assert fake.listeners == [fake.posted("/prompt")[0]["client_id"]]
    assert seen == [("Sample", 1, 4), ("Decode Video", 4, 4)]


def test_a_web_socket_that_says_nonsense_costs_the_bar_alone(fake: Fake) -> None:
    fake.told = [(0x81, "no JSON")]
    assert queue(fake, "text_to_av") == 0
    fake.told = [(0x81, '{"type": "progress", "data": {"prompt_id": "JOB"}}')]
    assert queue(fake, "text_to_av") == 0


# UI format


def describe(name: str) -> dict[str, Any] | None:
    return json.loads(json.dumps(info(REGISTRY[name]))) if name in REGISTRY else None


@pytest.mark.parametrize("name", workflow_names())
def test_a_ui_file_becomes_its_api_file(name: str) -> None:
    """A front end also sends the optional widgets that the API file leaves at their defaults."""
    found = api_format(json.loads((WORKFLOWS.parent / f"{name}.json").read_text(encoding="utf-8")), describe)
    expected = load_workflow(name)
    assert found.keys() == expected.keys()
    for node_id, node in expected.items():
        assert found[node_id]["class_type"] == node["class_type"]
        assert found[node_id]["_meta"]["title"] == node["_meta"]["title"]
        given, defaults = (
            found[node_id]["inputs"],
            {w.name: w.default for w in walk(describe(node["class_type"]) or {}, {})},
        )
        assert {key: given.get(key) for key in node["inputs"]} == node["inputs"]
        assert all(value == defaults[key] for key, value in given.items() if key not in node["inputs"])


def ui_node(number: int, kind: str, mode: int = 0, **more: Any) -> dict[str, Any]:
    return {"id": number, "type": kind, "mode": mode, "order": number, **more}


def socket(name: str, link: int | None, kind: str = "IMAGE") -> dict[str, Any]:
    return {"name": name, "type": kind, "link": link}


SOME_TYPES: dict[str, Any] = {
    "Make": {"input": {"required": {"seed": ["INT", {}], "name": [["a", "b"]]}}},
    "Blur": {"input": {"required": {"image": ["IMAGE"], "size": ["INT", {"default": 3}]}}},
    "Save": {"input": {"required": {"image": ["IMAGE"]}, "optional": {"mask": ["IMAGE"], "x": ["FLOAT", {}]}}},
}


def test_what_lives_in_the_front_end_only() -> None:
    """Note, reroute, primitive, a muted and a bypassed node; a linked widget keeps its place among the values."""
    nodes = [
        ui_node(1, "Make", widgets_values=[5, "fixed", "b"], inputs=[socket("seed", 1, "INT")]),
        ui_node(2, "PrimitiveNode", widgets_values=[99, "fixed"]),
        ui_node(3, "Blur", 4, inputs=[socket("image", 2)], outputs=[{"type": "IMAGE"}], widgets_values=[7]),
        ui_node(4, "Reroute", inputs=[socket("", 3, "*")], outputs=[{"type": "*"}]),
        ui_node(5, "Make", 2, widgets_values=[1, "fixed", "a"]),
        ui_node(6, "Save", inputs=[socket("image", 4), socket("mask", 5)], widgets_values=[0.5], title="Keep"),
        ui_node(7, "Note", widgets_values=["text"]),
    ]
    links = [[1, 2, 0, 1, 0, "INT"], [2, 1, 0, 3, 0, "IMAGE"], [3, 3, 0, 4, 0, "*"], [4, 4, 0, 6, 0, "*"]]
    links.append([5, 5, 0, 6, 1, "IMAGE"])
    assert api_format({"nodes": nodes, "links": links}, SOME_TYPES.get) == {
        "1": {"class_type": "Make", "inputs": {"seed": 99, "name": "b"}, "_meta": {"title": "Make"}},
        "6": {"class_type": "Save", "inputs": {"image": ["1", 0], "x": 0.5}, "_meta": {"title": "Keep"}},
    }


def inner_link(number: int, origin: int, slot: int, target: int, place: int) -> dict[str, Any]:
    ends = {"origin_id": origin, "origin_slot": slot, "target_id": target, "target_slot": place}
    return {"id": number, "type": "*", **ends}


def subgraph_file(**outer: Any) -> dict[str, Any]:
    """Make → a subgraph of Blur and of one more with a Blur → Save. outer: of the node that shows the first one."""
    widget = {**socket("size", 2, "INT"), "widget": {"name": "size"}}
    blur = ui_node(7, "Blur", inputs=[socket("image", 1), widget], outputs=[{"type": "IMAGE"}], widgets_values=[3])
    first = [inner_link(1, -10, 0, 7, 0), inner_link(2, -10, 1, 7, 1), inner_link(3, 7, 0, 8, 0)]
    inner = {
        "id": "inner",
        "inputs": [{"name": "image", "linkIds": [1]}, {"name": "size", "linkIds": [2]}],
        "nodes": [{**blur, "id": 9}],
        "links": [inner_link(1, -10, 0, 9, 0), inner_link(2, -10, 1, 9, 1), inner_link(3, 9, 0, -20, 0)],
    }
    shown = {**socket("size", 4, "INT"), "widget": {"name": "size"}}
    nested = ui_node(8, "inner", inputs=[socket("image", 3), shown], outputs=[{"type": "IMAGE"}], widgets_values=[])
    stage = {
        "id": "stage",
        "inputs": [
            {"name": "picture", "linkIds": [1]},
            {"name": "size", "linkIds": [2]},
            {"name": "size_2", "linkIds": [4]},
        ],
        "nodes": [blur, nested],
        "links": [*first, inner_link(4, -10, 2, 8, 1), inner_link(5, 8, 0, -20, 0)],
    }
    block = ui_node(2, "stage", inputs=[socket("picture", 1)], outputs=[{"type": "IMAGE"}], **outer)
    nodes = [
        ui_node(1, "Make", widgets_values=[5, "fixed", "b"]),
        block,
        ui_node(3, "Save", inputs=[socket("image", 2)]),
    ]
    links = [[1, 1, 0, 2, 0, "IMAGE"], [2, 2, 0, 3, 0, "IMAGE"]]
    return {"nodes": nodes, "links": links, "definitions": {"subgraphs": [stage, inner]}}


@pytest.mark.parametrize(
    ("outer", "sizes"),
    [
        ({"widgets_values": []}, (3, 3)),
        ({"widgets_values": [11, 12]}, (11, 12)),
        ({"widgets_values": [12], "properties": {"proxyWidgets": [["8", "size"]]}}, (3, 12)),
        ({"widgets_values": [11], "properties": {"proxyWidgets": [["-1", "size"]]}}, (11, 3)),
    ],
)
def test_subgraphs_become_flat(outer: dict[str, Any], sizes: tuple[int, int]) -> None:
    """With the values that the block outside has for widgets inside, whichever way a front end lists them."""
    found = api_format(subgraph_file(**outer), SOME_TYPES.get)
    assert {node_id: node["inputs"] for node_id, node in found.items()} == {
        "1": {"seed": 5, "name": "b"},
        "2:7": {"image": ["1", 0], "size": sizes[0]},
        "2:8:9": {"image": ["2:7", 0], "size": sizes[1]},
        "3": {"image": ["2:8:9", 0], "x": None},
    }


@pytest.mark.parametrize(("mode", "source"), [(2, None), (4, ["1", 0])])
def test_a_subgraph_that_is_switched_off(mode: int, source: Any) -> None:
    file = subgraph_file(widgets_values=[])
    file["nodes"][1]["mode"] = mode
    found = api_format(file, SOME_TYPES.get)
    assert list(found) == ["1", "3"]
    assert found["3"]["inputs"].get("image") == source


def test_a_ui_file_is_queued(fake: Fake, capsys: pytest.CaptureFixture[str]) -> None:
    source = WORKFLOWS.parent / "text_to_av.json"
    assert queue(fake, str(source), "--set", "Sample.noise_seed=7") == 0
    assert fake.posted("/prompt")[0]["prompt"]["6"]["inputs"]["noise_seed"] == 7
    capsys.readouterr()
    circle = {"id": "u", "inputs": [], "nodes": [{"id": 1, "type": "u"}], "links": []}
    Path("s.json").write_text(json.dumps({**circle, "definitions": {"subgraphs": [circle]}}))
    assert "contains itself" in refused(fake, 2, capsys, "s.json")
    Path("b.json").write_text('{"nodes": [{"id": 1}], "links": []}')
    assert "found a broken one" in refused(fake, 2, capsys, "b.json")
