"""Downloads against a small server that speaks the hub's endpoints: resume, hashes, terms, offline, nothing else."""

from __future__ import annotations

import hashlib
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from openltx.model_loaders.download import asked, fetch, listed
from openltx.nodes.download import Download
from openltx.nodes.host.standalone.settings import Settings, model_folders_below, use

UPSCALER = ("Lightricks/LTX-2.3", "ltx-2.3-spatial-upscaler-x2-1.1.safetensors")
GEMMA = ("Comfy-Org/ltx-2", "split_files/text_encoders/gemma_3_12B_it_fp4_mixed.safetensors")
GATED = ("Lightricks/LTX-2.5", "vae/ltx-2.5-audio-vae-bf16.safetensors")
CHECKPOINT = ("Lightricks/LTX-2.3-fp8", "ltx-2.3-22b-distilled-fp8.safetensors")
UPSCALER_ROLE = "latent_upscale_models"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SIZE = 300_000


@dataclass
class Hub:
    """What the server holds and does, and what it was asked. breaks: how many transfers end in the middle.

    busy: how many answers are 503. moved: the hub that files are at really. tokens: of every transfer.
    stops: the next transfer sends half of it, says so in `half_sent`, and waits for `go_on`.
    """

    contents: dict[tuple[str, str], bytes] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    wrong_hash: set[str] = field(default_factory=set)
    breaks: int = 0
    busy: int = 0
    ignores_ranges: bool = False
    moved: Hub | None = None
    tokens: list[str | None] = field(default_factory=list)
    stops: bool = False
    half_sent: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    asked: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    sent: int = 0
    url: str = ""

    def add(self, file: tuple[str, str], size: int = SIZE) -> bytes:
        self.contents[file] = random.Random(file[1]).randbytes(size)
        return self.contents[file]

    def sha256(self, file: tuple[str, str]) -> str:
        digest = hashlib.sha256(self.contents[file]).hexdigest()
        return digest[::-1] if file[1] in self.wrong_hash else digest

    def lfs(self, file: tuple[str, str]) -> dict[str, Any]:
        return {"sha256": self.sha256(file), "size": len(self.contents[file]), "pointerSize": 135}

    def about(self, repository: str) -> dict[str, Any]:
        rows = [
            {"rfilename": path, "size": len(data), "lfs": self.lfs((owner, path))}
            for (owner, path), data in self.contents.items()
            if owner == repository
        ]
        card = {"license": "other", "license_name": "the-licence-of-" + repository.split("/")[1]}
        return {"id": repository, "sha": COMMIT, "siblings": rows, "cardData": card, "tags": [], "gated": False}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = self.path.partition("?")[0]
        self.hub.asked.append(f"{self.command} {path}")
        if path.startswith("/api/models/"):
            repository = "/".join(path.split("/")[3:5])
            if repository in self.hub.gated and path.endswith("/auth-check"):
                self._send(403, b"{}", {"X-Error-Code": "GatedRepo"}, body)
            elif repository not in {owner for owner, _ in self.hub.contents}:
                self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body)
            else:
                self._send(
                    200, json.dumps(self.hub.about(repository)).encode(), {"Content-Type": "application/json"}, body
                )
            return
        owner, name, _, _, *rest = path.strip("/").split("/")
        self._file((f"{owner}/{name}", "/".join(rest)), body)

    def _file(self, file: tuple[str, str], body: bool) -> None:
        data, digest = self.hub.contents[file], self.hub.sha256(file)
        start = 0
        headers = {"ETag": f'"{digest}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(data))}
        if self.hub.busy and body:
            self.hub.busy -= 1
            self._send(503, b"busy", {}, body)
            return
        self.hub.tokens.append(self.headers.get("Authorization"))
        if self.hub.moved is not None:
            self._send(302, b"", {"Location": self.hub.moved.url + self.path}, body)
            return
        wanted = self.headers.get("Range")
        if wanted and body and not self.hub.ignores_ranges:
            self.hub.ranges.append(wanted)
            start = int(wanted.removeprefix("bytes=").split("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        cut = body and (self.hub.breaks > 0 or self.hub.stops)
        self.hub.breaks -= bool(cut and not self.hub.stops)
        self._send(206 if start else 200, data[start:], headers, body, cut=cut)

    def _send(self, status: int, data: bytes, headers: dict[str, str], body: bool, *, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if not body:
            return
        part = data[: len(data) // 2] if cut else data
        self.wfile.write(part)
        self.wfile.flush()
        self.hub.sent += len(part)
        if cut and self.hub.stops:
            self.hub.stops = False
            self.hub.half_sent.set()
            self.hub.go_on.wait(60)
        if cut:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True


@contextmanager
def serving() -> Iterator[Hub]:
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield hub
    server.shutdown()
    server.server_close()


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving() as hub:
        yield hub


@dataclass
class Command:
    """Runs `openltx …` in a process of its own: the hub's library reads its settings when it is imported."""

    environment: dict[str, str]
    folder: Path
    command: tuple[str, ...] = (sys.executable, "-m", "openltx", "download")

    def __call__(self, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        environment = self.environment | settings
        return subprocess.run(
            [*self.command, *words], env=environment, cwd=self.folder, capture_output=True, text=True, check=False
        )


@pytest.fixture
def download(hub: Hub, tmp_path: Path) -> Command:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return Command({**kept, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf")}, tmp_path)


def tree(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_file_goes_into_its_folder_and_nothing_else_is_asked(hub: Hub, download: Command, tmp_path: Path) -> None:
    data = hub.add(UPSCALER)
    hub.add((UPSCALER[0], "ltx-2.3-22b-dev.safetensors"))
    done = download("ltx-2.3-spatial-upscaler-x2-1.1")
    assert done.returncode == 0, done.stderr
    path = tmp_path / "models" / "latent_upscale_models" / UPSCALER[1]
    assert path.read_bytes() == data
    assert tree(tmp_path / "models") == [f"latent_upscale_models/{UPSCALER[1]}"]
    line, terms, written = done.stdout.splitlines()
    assert f"{UPSCALER[0]}: {UPSCALER[1]}, 0.000 GB, into " in line
    assert terms.strip() == "licence: the-licence-of-LTX-2.3, https://huggingface.co/Lightricks/LTX-2.3"
    assert written == str(Path("models", "latent_upscale_models", UPSCALER[1]))
    assert {asked.partition(" ")[2] for asked in hub.asked} == {
        "/api/models/Lightricks/LTX-2.3/auth-check",
        "/api/models/Lightricks/LTX-2.3",
        f"/Lightricks/LTX-2.3/resolve/{COMMIT}/{UPSCALER[1]}",
    }


def test_a_set_goes_into_several_folders_and_a_second_time_costs_nothing(
    hub: Hub, download: Command, tmp_path: Path
) -> None:
    files = [hub.add(file) for file in (CHECKPOINT, GEMMA, UPSCALER)]
    for _ in range(2):
        done = download("ltx-2.3-distilled-fp8", "--to", "weights", "--json")
        assert done.returncode == 0, done.stderr
        paths = [tmp_path / path for path in json.loads(done.stdout)["files"]]
        assert [path.read_bytes() for path in paths] == files
        assert hub.sent < 3 * SIZE + 20_000  # and a few answers in JSON
    assert done.stderr.count("already there") == 3
    assert tree(tmp_path / "weights") == [
        f"checkpoints/{CHECKPOINT[1]}",
        f"latent_upscale_models/{UPSCALER[1]}",
        "text_encoders/gemma_3_12B_it_fp4_mixed.safetensors",
    ]


def test_a_dry_run_writes_nothing(hub: Hub, download: Command, tmp_path: Path) -> None:
    hub.add(UPSCALER)
    done = download("ltx-2.3-spatial-upscaler-x2-1.1", "--dry-run", "--json")
    (item,) = json.loads(done.stdout)["items"]
    assert (item["bytes"], item["sha256"], item["revision"]) == (SIZE, hub.sha256(UPSCALER), COMMIT)
    assert not (tmp_path / "models").exists()
    assert not any("resolve" in asked for asked in hub.asked)


def test_a_connection_that_breaks_once_goes_on_by_itself(hub: Hub, download: Command, tmp_path: Path) -> None:
    data, hub.breaks = hub.add(UPSCALER, 4_000_000), 1
    done = download("ltx-2.3-spatial-upscaler-x2-1.1")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "models" / "latent_upscale_models" / UPSCALER[1]).read_bytes() == data
    (resumed,) = hub.ranges
    assert 2**20 <= int(resumed.removeprefix("bytes=").removesuffix("-")) <= 2_000_000


def test_a_process_that_was_killed_is_resumed_by_the_next_one(hub: Hub, download: Command, tmp_path: Path) -> None:
    """Half of the file had been sent, of which only whole pieces of 1 MiB are sure to have been written."""
    data, hub.stops = hub.add(UPSCALER, 8_000_000), True
    process = subprocess.Popen([*download.command, UPSCALER[1]], env=download.environment, cwd=tmp_path)
    assert hub.half_sent.wait(60)
    time.sleep(0.5)
    process.kill()
    process.wait()
    hub.go_on.set()
    assert hub.ranges == []
    done = download(UPSCALER[1])
    assert done.returncode == 0, done.stderr
    (resumed,) = hub.ranges
    assert 2 * 2**20 <= int(resumed.removeprefix("bytes=").removesuffix("-")) <= 4_000_000
    assert (tmp_path / "models" / "latent_upscale_models" / UPSCALER[1]).read_bytes() == data
    assert tree(tmp_path / "models") == [f"latent_upscale_models/{UPSCALER[1]}"]


def test_a_user_who_stops_can_go_on(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    data = hub.add(UPSCALER, 4_000_000)
    items = asked(listed(UPSCALER[1], {UPSCALER_ROLE: tmp_path}))

    def stop(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(items, on_bytes=stop)
    assert not items[0].target.exists()
    seen: list[int] = []
    fetch(items, on_bytes=seen.append)
    assert items[0].target.read_bytes() == data
    assert sum(seen) == len(data) - 2**20  # the piece at which the user stopped is kept


def fetched(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """In this process."""
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    (path,) = fetch(asked(listed(UPSCALER[1], {UPSCALER_ROLE: folder})))
    return path.read_bytes()


def use_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """As huggingface_hub before 1.0 does; the one installed here may not bring it."""
    requests = pytest.importorskip("requests", reason="NOT TESTED: downloads over requests, which is not installed")
    monkeypatch.setattr("huggingface_hub.utils.get_session", requests.Session)
    monkeypatch.setattr("huggingface_hub.utils.hf_raise_for_status", requests.Response.raise_for_status)


@pytest.mark.parametrize("ignores_ranges", [False, True])
def test_the_older_http_library_serves_as_well(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ignores_ranges: bool
) -> None:
    """A server without ranges sends all of it again."""
    data, hub.breaks, hub.ignores_ranges = hub.add(UPSCALER, 4_000_000), 1, ignores_ranges
    use_requests(monkeypatch)
    assert fetched(hub, tmp_path, monkeypatch) == data
    assert bool(hub.ranges) != ignores_ranges


def test_a_busy_hub_is_asked_again(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, hub.busy = hub.add(UPSCALER), 2
    assert fetched(hub, tmp_path, monkeypatch) == data


@pytest.mark.parametrize("library", ["httpx", "requests"])
def test_a_token_goes_to_the_hub_alone(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    if library == "requests":
        use_requests(monkeypatch)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serving() as store:
        data = hub.add(UPSCALER)
        store.add(UPSCALER)
        hub.moved = store
        assert fetched(hub, tmp_path, monkeypatch) == data
        assert hub.tokens == ["Bearer hf_secret"]
        assert store.tokens == [None]


def test_a_full_disk_is_no_broken_connection(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add(UPSCALER)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=SIZE - 1))
    with pytest.raises(
        ValueError, match=r"expected 0\.0 GB of free space, found 0\.0; make room, or give another folder"
    ):
        fetched(hub, tmp_path, monkeypatch)
    assert not any("resolve" in asked for asked in hub.asked)


def test_a_wrong_hash_is_thrown_away(hub: Hub, download: Command, tmp_path: Path) -> None:
    data = hub.add(UPSCALER)
    hub.wrong_hash = {UPSCALER[1]}
    done = download("ltx-2.3-spatial-upscaler-x2-1.1")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1] == (
        f"openltx: {UPSCALER[1]}: expected sha256 {hub.sha256(UPSCALER)}, found {hashlib.sha256(data).hexdigest()}; "
        "what came was thrown away, run the same command again"
    )
    assert tree(tmp_path / "models") == []
    hub.wrong_hash = set()
    assert download("ltx-2.3-spatial-upscaler-x2-1.1").returncode == 0


def refusal(done: Any) -> str:
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = done.stderr.strip().splitlines()
    return str(line)


def test_terms_are_asked_for_before_anything_is_fetched(hub: Hub, download: Command, tmp_path: Path) -> None:
    hub.add(GATED)
    hub.gated = {GATED[0]}
    assert refusal(download("ltx-2.5-audio-vae-bf16")) == (
        "openltx: Lightricks/LTX-2.5: accept the terms on https://huggingface.co/Lightricks/LTX-2.5, then set a read "
        "token ('hf auth login', or HF_TOKEN)"
    )
    assert not (tmp_path / "models").exists()


def test_offline_mode_says_what_to_fetch_by_hand(hub: Hub, download: Command) -> None:
    assert refusal(download("ltx-2.3-spatial-upscaler-x2-1.1", HF_HUB_OFFLINE="1")) == (
        "openltx: offline mode is on (HF_HUB_OFFLINE); unset it, or fetch these by hand: "
        f"https://huggingface.co/Lightricks/LTX-2.3 {UPSCALER[1]} into models/latent_upscale_models"
    )
    assert hub.asked == []


def test_other_refusals_are_one_line(hub: Hub, download: Command, tmp_path: Path) -> None:
    assert "'ltx-9': no such download; expected one of ltx-2-distilled-fp8" in refusal(download("ltx-9"))
    assert hub.asked == []
    assert "no such repository, or not for you" in refusal(download("ltx-2.3-22b-dev"))
    hub.add((UPSCALER[0], "other.safetensors"))
    gone = refusal(download("ltx-2.3-spatial-upscaler-x2-1.1"))
    assert f"{UPSCALER[1]}: no longer in Lightricks/LTX-2.3; look at https://huggingface.co/" in gone
    hub.add(UPSCALER)
    other = tmp_path / "models" / "latent_upscale_models" / UPSCALER[1]
    other.parent.mkdir(parents=True)
    other.write_bytes(b"mine")
    kept = refusal(download("ltx-2.3-spatial-upscaler-x2-1.1"))
    assert f"expected {SIZE} bytes as published, found 4; move it away first" in kept
    assert other.read_bytes() == b"mine"


def test_a_hub_that_cannot_be_reached_is_one_line(download: Command) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        line = refusal(download("ltx-2.3-22b-dev", HF_ENDPOINT=address))
    assert line.startswith(f"openltx: {address}: the connection failed (")
    assert line.endswith("run the same command again, it goes on where it stopped")


def test_the_node_is_off_and_asks_nobody(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    for file in (CHECKPOINT, GEMMA, UPSCALER):
        hub.add(file)
    switch = next(given for given in Download.define_schema().inputs if given.id == "download")
    assert switch.default is False  # type: ignore[attr-defined]
    with use(Settings(model_folders=model_folders_below(tmp_path))):
        report = Download.execute("ltx-2.3-distilled-fp8", False).args[0]
        assert "Lightricks/LTX-2.3-fp8: ltx-2.3-22b-distilled-fp8.safetensors, 29.528 GB, into " in report
        assert hub.asked == []
        assert tree(tmp_path) == []
        Download.execute("ltx-2.3-distilled-fp8", True)
    assert len(tree(tmp_path)) == 3
