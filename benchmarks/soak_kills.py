"""kill -9 at random moments: what goes on afterwards ends as an undisturbed run does, and leaves nothing else behind.

One process imports everything and forks. A child works in a folder of its own and is killed; the next one finishes its
work there. POSIX only.
"""

from __future__ import annotations

import faulthandler
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch

from openltx.api import run
from openltx.media.av_reader import read_frames
from openltx.media.av_writer import Encoding, write_av
from openltx.media.sequences import write_png_sequence
from openltx.media.texts import read_texts
from openltx.media.workplace import sweep
from openltx.model_loaders.download import asked, fetch, listed
from openltx.nodes.decode import DecodeAudio, DecodeVideo
from openltx.nodes.host.standalone.runtime import Observer
from openltx.nodes.host.standalone.settings import Settings, use
from openltx.nodes.latents import EmptyAVLatent, Latent
from openltx.nodes.load import INSIDE, LoadModel
from openltx.nodes.to_file import DecodeToFile
from openltx.training.lora.config import config_of
from openltx.training.lora.run import train_lora
from openltx.training.world import make_clip, sample_scene

ASSETS = Path(__file__).resolve().parent.parent / "assets"
TINY = "openltx-tiny-2.3.safetensors"
LOSSLESS = Encoding(video="ffv1")
EARLIER = "earlier.mkv"  # a finished file in every folder
DOWNLOAD = ("Lightricks/LTX-2.3", "ltx-2.3-spatial-upscaler-x2-1.1.safetensors")
BYTES, PIECE = 12_000_000, 2**17  # of a download, and of what the server sends at once
SECONDS = 600.0  # that no child takes


@dataclass(frozen=True, kw_only=True)
class Job:
    """prepare: puts into a new folder what was there before. work: begins or goes on. result: of a folder."""

    name: str
    prepare: Callable[[Path], None]
    work: Callable[[Path], None]
    result: Callable[[Path], Any]


@dataclass(kw_only=True)
class Kills:
    """How the kills of a job went. late: that came after the work was done, and do not count."""

    kills: int = 0
    late: int = 0
    seconds: float = 0.0

    def row(self) -> dict[str, Any]:
        return {"kills": self.kills, "late": self.late, "seconds_undisturbed": round(self.seconds, 2)}


def kills(count: int, seed: int, root: Path, only: str = "") -> dict[str, Any]:
    """`count` kills over all jobs in turn. Raises AssertionError, naming job and kill, where something was lost."""
    torch.set_num_threads(1)
    rng, found = random.Random(seed), {}
    with downloads() as url:
        os.environ["HF_ENDPOINT"] = url
        jobs = [job for job in all_jobs(root) if only in job.name]
        for place, job in enumerate(jobs):
            share = count // len(jobs) + (place < count % len(jobs))
            found[job.name] = killed(job, share, rng, root / job.name).row()
            print(f"{job.name}: {found[job.name]}", file=sys.stderr, flush=True)
    return found


def killed(job: Job, count: int, rng: random.Random, root: Path) -> Kills:
    """`count` kills of one job, each at a moment of its own."""
    whole, done = _folder(root / "whole", job), Kills()
    start = time.monotonic()
    _finish(job, whole)
    done.seconds = time.monotonic() - start
    expected, names = _result(job, whole), listing(whole)
    while done.kills < count:
        folder = _folder(root / f"{done.kills}", job)
        earlier, moment = digest(folder / EARLIER), rng.uniform(0, done.seconds)
        where = f"{job.name}, kill {done.kills + 1} after {moment:.3f} s"
        if not _cut_off(job, folder, moment):
            done.late += 1
            shutil.rmtree(folder)
            continue
        assert digest(folder / EARLIER) == earlier, f"{where}: an earlier file was damaged"
        _finish(job, folder)
        assert _result(job, folder) == expected, f"{where}: another result"
        assert listing(folder) == names, f"{where}: {sorted(set(listing(folder)) ^ set(names))} left or missing"
        assert digest(folder / EARLIER) == earlier, f"{where}: an earlier file was damaged"
        shutil.rmtree(folder)
        done.kills += 1
    return done


def _folder(path: Path, job: Job) -> Path:
    path.mkdir(parents=True)
    write_av(path / EARLIER, [torch.zeros(2, 16, 16, 3)], frame_rate=24, encoding=LOSSLESS)
    job.prepare(path)
    return path


def _child(work: Callable[[Path], object], folder: Path) -> int:
    """Works in a new process; its number. What reads and computes does so in children: this process must stay such that
    a fork of it works."""
    process = os.fork()
    if process:
        return process
    try:
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        work(folder)
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _result(job: Job, folder: Path) -> Any:
    told = folder.with_suffix(".json")
    _finish(job, folder, lambda _: told.write_text(json.dumps(job.result(folder))))
    return json.loads(told.read_text())


def _cut_off(job: Job, folder: Path, moment: float) -> bool:
    """Whether the kill came before the work was done."""
    process = _child(job.work, folder)
    time.sleep(moment)
    os.kill(process, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(process, 0)[1])


def _finish(job: Job, folder: Path, work: Callable[[Path], object] | None = None) -> None:
    status = os.waitpid(_child(work or job.work, folder), 0)[1]
    assert status == 0, f"{job.name} in {folder} ended with {status}"


def listing(folder: Path) -> list[str]:
    """Everything in a folder, hidden things and empty folders too; but for logs, which say how often it was begun."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.suffix != ".log")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Silent(Observer):
    def warning(self, text: str) -> None:
        pass


def all_jobs(root: Path) -> list[Job]:
    import openltx.nodes.registry  # noqa: F401  # once, and not in every child

    with torch.inference_mode():
        parts = LoadModel.execute(TINY, INSIDE, "float32").args
        latent = EmptyAVLatent.execute(parts[0], 96, 64, 17, 24.0).args[0]
        generator = torch.Generator().manual_seed(0)
        noise = [torch.randn(member.shape, generator=generator) for member in latent["samples"].unbind()]
        latent = {**latent, "samples": type(latent["samples"])(noise)}
        small = EmptyAVLatent.execute(parts[0], 64, 64, 9, 24.0).args[0]
        DecodeVideo.execute(parts[2], small)  # reads the decoders: every child has them
        DecodeAudio.execute(parts[3], small)
    return [generate(), decode(parts, latent), sequence(), video(), download(), lora(root / "clips")]


def generate() -> Job:
    sizes: dict[str, Any] = {"width": 64, "height": 64, "frames": 9, "steps": 6}

    def work(folder: Path) -> None:
        options: dict[str, Any] = {"keep_after": 0, "resume": True, "observer": Silent(), "device": "cpu"}
        run(prompt="a red ball bounces", output=folder / "clip.mp4", **sizes, **options)

    def result(folder: Path) -> Any:
        return json.loads(read_texts(folder / "clip.mp4")["openltx"])["result"]

    return Job(name="generate", prepare=lambda folder: None, work=work, result=result)


def decode(parts: tuple[Any, ...], latent: Latent) -> Job:
    def work(folder: Path) -> None:
        with use(Settings(output_folder=folder, device="cpu")), torch.inference_mode():
            DecodeToFile.execute(parts[2], latent, 24.0, "clip", "mkv", parts[3], codec="ffv1")

    return Job(name="decode", prepare=lambda folder: None, work=work, result=lambda f: frames(f / "clip_00001_.mkv"))


def sequence() -> Job:
    clip = torch.rand(24, 64, 64, 3, generator=torch.Generator().manual_seed(1))

    def work(folder: Path) -> None:
        if not (folder / "frames").exists():
            write_png_sequence(folder / "frames", [clip[:8], clip[8:16], clip[16:]])
        sweep(folder)  # as the next writer there does: a kill may have come when all was done but the clearing away

    def result(folder: Path) -> Any:
        return [digest(path) for path in sorted((folder / "frames").iterdir())]

    return Job(name="sequence", prepare=lambda folder: None, work=work, result=result)


def video() -> Job:
    """Over a file of the same name."""
    clip = torch.rand(24, 96, 96, 3, generator=torch.Generator().manual_seed(1))
    sound = torch.rand(2, 48000, generator=torch.Generator().manual_seed(2)) - 0.5

    def work(folder: Path) -> None:
        assert len(read_frames(folder / "clip.mkv")) in (2, len(clip))  # whole, whatever happened
        write_av(folder / "clip.mkv", [clip], frame_rate=24, waveform=sound, encoding=LOSSLESS)

    def prepare(folder: Path) -> None:
        shutil.copy(folder / EARLIER, folder / "clip.mkv")

    return Job(name="write", prepare=prepare, work=work, result=lambda folder: frames(folder / "clip.mkv"))


def _codes(clip: torch.Tensor) -> bytes:
    return (clip * 255).round().to(torch.uint8).numpy().tobytes()


def frames(path: Path) -> str:
    """A digest of the pictures of a file that lost nothing."""
    return hashlib.sha256(_codes(torch.as_tensor(read_frames(path)))).hexdigest()


def download() -> Job:
    def work(folder: Path) -> None:
        fetch(asked(listed(DOWNLOAD[1], {"latent_upscale_models": folder / "models"})))

    def result(folder: Path) -> Any:
        return digest(folder / "models" / DOWNLOAD[1])

    return Job(name="download", prepare=lambda folder: None, work=work, result=result)


def lora(clips: Path) -> Job:
    """From clips to a LoRA file."""
    clips.mkdir(parents=True)
    clip = make_clip(sample_scene(0), frames=17, height=64, width=64)
    write_av(clips / "0.mp4", [clip.frames], frame_rate=24, waveform=clip.waveform, sample_rate=16000)
    (clips / "0.txt").write_text(clip.caption, encoding="utf-8")
    tables: dict[str, Any] = {
        "output": "out",
        "model": {"checkpoint": str(ASSETS / TINY)},
        "data": {"folder": str(clips), "width": 64, "height": 64, "frames": 9},
        "lora": {"rank": 2, "targets": ["attn1.to_q", "audio_attn1.to_v"]},
        "training": {"steps": 6, "precision": "float32", "learning_rate": 0.01, "save_every": 1, "device": "cpu"},
    }
    config = config_of(tables, name="soak.toml", folder=clips)

    def work(folder: Path) -> None:
        train_lora(replace(config, output=folder / "ball"))

    def result(folder: Path) -> Any:
        from safetensors.torch import load_file

        made = {
            name: load_file(folder / "ball" / name) for name in ("ball.safetensors", "state/state_lora.safetensors")
        }
        return {f"{name} {key}": digest_of(tensor) for name, kept in made.items() for key, tensor in kept.items()}

    return Job(name="lora", prepare=lambda folder: None, work=work, result=result)


def digest_of(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()).hexdigest()


@contextmanager
def downloads() -> Iterator[str]:
    """A server with one file, sent piece by piece; its address."""
    data = random.Random(0).randbytes(BYTES)
    name, sha256 = DOWNLOAD[1], hashlib.sha256(data).hexdigest()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET(body=False)

        def do_GET(self, body: bool = True) -> None:
            if self.path.startswith("/api/models/"):
                lfs = {"sha256": sha256, "size": len(data), "pointerSize": 135}
                rows = [{"rfilename": name, "size": len(data), "lfs": lfs}]
                about = {
                    "id": DOWNLOAD[0],
                    "sha": "0" * 40,
                    "siblings": rows,
                    "cardData": {},
                    "tags": [],
                    "gated": False,
                }
                self._send(200, json.dumps(about).encode(), {"Content-Type": "application/json"}, body)
                return
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
            headers = {"ETag": f'"{sha256}"', "X-Repo-Commit": "0" * 40, "Accept-Ranges": "bytes"}
            headers |= {"X-Linked-Etag": f'"{sha256}"', "X-Linked-Size": str(len(data))}
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            self._send(206 if start else 200, data[start:], headers, body)

        def _send(self, status: int, content: bytes, headers: dict[str, str], body: bool) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            try:
                for first in range(0, len(content) if body else 0, PIECE):
                    self.wfile.write(content[first : first + PIECE])
                    time.sleep(0.003)
            except OSError:  # who asked was killed
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
