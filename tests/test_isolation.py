"""Workers that share folders: no file of one is lost to another, whatever the moment."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from openltx.media import workplace
from openltx.media.workplace import reserved, sweep, work_folder
from openltx.nodes.host.files import next_output

WORKER = """
import sys, time
from pathlib import Path
from openltx.media.targets import whole_file
from openltx.nodes.host.files import next_output
folder, count = Path(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for index in range(count):
    saved = next_output(folder, "clip", ".bin")
    with whole_file(saved.path) as path:
        path.write_text(f"{sys.argv[3]} {index}")
        time.sleep(0.001)
    del saved
"""
HOLDER = """
import sys
from pathlib import Path
from openltx.nodes.host.files import next_output
saved = next_output(Path(sys.argv[1]), "clip", ".bin")
print(saved.filename, flush=True)
sys.stdin.readline()
"""


def _worker(script: str, folder: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, str(folder), *words]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_workers_that_share_an_output_folder_lose_no_file(tmp_path: Path) -> None:
    """Without reservations they would take the same numbers, and the last one to write would have it."""
    workers = [_worker(WORKER, tmp_path, "30", name) for name in "abc"]
    assert [_said(worker) for worker in workers] == ["ready"] * 3
    for worker in workers:
        worker.communicate("go\n")
        assert worker.returncode == 0
    written = sorted(path.read_text() for path in tmp_path.iterdir())
    assert written == sorted(f"{name} {index}" for name in "abc" for index in range(30))


def test_a_name_is_free_again_when_its_worker_is_dead_or_done(tmp_path: Path) -> None:
    holder = _worker(HOLDER, tmp_path)
    assert _said(holder) == "clip_00001_.bin"
    mine = next_output(tmp_path, "clip", ".bin")
    assert mine.filename == "clip_00002_.bin"
    again = next_output(tmp_path, "clip", ".mp4")
    assert again.filename == "clip_00003_.mp4"
    holder.kill()
    holder.communicate()
    assert next_output(tmp_path, "clip", ".bin").filename == "clip_00001_.bin"
    del mine, again
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_threads_of_one_process_get_names_of_their_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        saved = list(pool.map(lambda _: next_output(tmp_path, "clip", ".bin"), range(40)))
    assert len({entry.filename for entry in saved}) == 40


def test_a_reservation_taken_for_a_dead_ones_does_not_cost_the_next_one_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweeper opens the file of a dead worker; before it has the lock, somebody else reserves the name anew."""
    first = reserved(tmp_path, "a")
    assert first is not None
    (path,) = tmp_path.iterdir()
    lock, met = workplace._locked, list[object]()

    def slowly(file: object) -> bool:
        if not met:
            met.append(None)
            first.close()  # the file has no name any more
            met.append(reserved(tmp_path, "a"))
        return lock(file)  # type: ignore[arg-type]

    monkeypatch.setattr(workplace, "_locked", slowly)
    workplace._remove_abandoned(path)
    assert met[1] is not None
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_written_is_the_writers_to_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("openltx.nodes.host.files.reserved", refuse)
    assert next_output(tmp_path, "clip", ".bin").reservation is None


def test_work_folders_of_a_dead_process_are_cleared_by_a_living_one_only_when_it_is_dead(tmp_path: Path) -> None:
    with work_folder(tmp_path) as own:
        sweep(tmp_path)
        assert own.is_dir()


def test_a_name_that_no_file_system_takes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"^filename prefix: expected names of at most 200 bytes, found .{1,200}; use a"
    ):
        next_output(tmp_path, "folder/" + "ü" * 120, ".mp4")
    assert list(tmp_path.iterdir()) == []
