"""Reading ahead: only what was asked for, in order, never more than half of the free memory, and only while wanted."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from mmap import PAGESIZE, mmap
from pathlib import Path
from weakref import ref

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from openltx.model_loaders import read_ahead as reading
from openltx.model_loaders.checkpoint import Checkpoint, open_checkpoint
from openltx.model_loaders.mapped import map_file
from openltx.model_loaders.quantisation.weights import plain_weights

SIZE = 40 * 2**20


@pytest.fixture
def owner(cold: Path) -> mmap:
    """Who wants the bytes."""
    return map_file(cold)


@pytest.fixture
def cold(tmp_path: Path) -> Path:
    """A file that the system has forgotten."""
    if sys.platform != "linux":
        pytest.skip("only Linux tells what its cache holds")
    path = tmp_path / "weights.bin"
    with path.open("wb") as file:
        file.write(os.urandom(SIZE))
        os.fsync(file.fileno())
    _forget(path)
    if held(path, 0):
        pytest.skip("this file system keeps all files in memory")
    return path


def _forget(path: Path) -> None:
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def held(path: Path, position: int) -> bool:
    with path.open("rb") as file:
        return reading._in_cache(file.fileno(), position)


def _finish(thread: threading.Thread | None) -> None:
    assert thread is not None
    thread.join(60)
    assert not thread.is_alive()


spans = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 10)), max_size=12).map(
    lambda pairs: [(start * 2**20, (start + length) * 2**20) for start, length in pairs]
)


@given(spans, st.integers(-1, 60))
def test_pieces_hold_every_byte_once_in_order_up_to_the_limit(wanted: list[reading.Span], limit: int) -> None:
    joined = reading.join_spans(wanted)
    pieces = list(reading.cut(joined, 2**60))
    assert pieces == sorted(pieces)
    assert all(0 < end - start <= reading.PIECE for start, end in pieces)
    assert all(before[1] <= after[0] for before, after in zip(pieces, pieces[1:], strict=False))
    covered = {mega for start, end in pieces for mega in range(start >> 20, end >> 20)}
    assert covered >= {mega for start, end in wanted for mega in range(start >> 20, end >> 20)}
    read = sum(end - start for start, end in reading.cut(joined, limit * 2**20))
    assert read == min(max(limit, 0) * 2**20, sum(end - start for start, end in pieces))


def test_asked_bytes_come_into_the_cache(cold: Path, owner: mmap) -> None:
    _finish(reading.read_ahead(cold, [(0, SIZE)], ref(owner)))
    assert all(held(cold, position) for position in range(0, SIZE, 2**20))


def test_pages_are_entered_where_the_system_can(cold: Path, owner: mmap) -> None:
    """Then using them costs no fault: they count as this process's own."""
    probe = mmap(-1, PAGESIZE)
    if reading._madvise()(probe_address(probe), PAGESIZE, reading.POPULATE_READ):
        pytest.skip("Linux before 5.14")
    before = _of_files()
    _finish(reading.read_ahead(cold, [(5, SIZE)], ref(owner)))
    assert _of_files() - before >= 0.9 * SIZE


def probe_address(probe: mmap) -> ctypes.c_void_p:
    return ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(probe)))


def _of_files() -> int:
    """Bytes of files in the tables of this process."""
    row = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssFile"))
    return int(row.split()[1]) * 1024


@pytest.fixture
def read(cold: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of what is read of the cold file from now on."""
    sizes: list[int] = []
    opened = Path.open

    def counted(path: Path, *arguments: object, **options: object) -> object:
        file = opened(path, *arguments, **options)  # type: ignore[call-overload]
        return Counted(file, sizes) if path == cold else file

    monkeypatch.setattr(Path, "open", counted)
    monkeypatch.setattr(reading, "_in_cache", lambda file, position: False)
    return sizes


def test_a_dead_owner_stops_it(cold: Path, read: list[int]) -> None:
    _finish(reading.read_ahead(cold, [(0, SIZE)], ref(map_file(cold))))
    assert read == []
    owner = map_file(cold)
    _finish(reading.read_ahead(cold, [(0, SIZE)], ref(owner)))
    assert sum(read) == SIZE


def test_half_of_the_free_memory_is_the_limit(
    cold: Path, owner: mmap, read: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "free_ram", lambda: 6 * reading.CHUNK)
    _finish(reading.read_ahead(cold, [(0, SIZE)], ref(owner)))
    assert sum(read) == 3 * reading.CHUNK


class Counted:
    """A file that notes how many bytes are read of it."""

    def __init__(self, file: object, read: list[int]) -> None:
        self._file, self._read = file, read

    def __enter__(self) -> Counted:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Callable[..., object]:
        found: Callable[..., object] = getattr(self._file, name)
        return found

    def readinto(self, buffer: memoryview) -> int:
        self._read.append(len(buffer))
        return int(self._file.readinto(buffer))  # type: ignore[attr-defined]


def test_a_small_part_is_left_to_its_use(tmp_path: Path) -> None:
    assert reading.read_ahead(tmp_path / "any", [(0, reading.SMALLEST - 1)], ref(mmap(-1, 1))) is None


def test_a_file_that_is_gone_disturbs_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[object] = []
    monkeypatch.setattr(threading, "excepthook", raised.append)
    _finish(reading.read_ahead(tmp_path / "gone", [(0, SIZE)], ref(mmap(-1, 1))))
    assert raised == []


def test_a_checkpoint_names_its_bytes_and_lives_as_long_as_its_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "two.safetensors"
    save_file({"a": torch.arange(6, dtype=torch.int32), "b": torch.ones(3)}, path)
    asked: list[tuple[list[reading.Span], ref[object]]] = []
    monkeypatch.setattr(reading, "read_ahead", lambda path, spans, wanted: asked.append((list(spans), wanted)))
    checkpoint = open_checkpoint(path)
    checkpoint.read_ahead(["b"])
    ((span,), wanted) = asked[0]
    assert path.read_bytes()[slice(*span)] == torch.ones(3).numpy().tobytes()
    tensor = checkpoint.load(["b"])["b"]
    del checkpoint
    assert wanted() is not None
    assert tensor.tolist() == [1, 1, 1]
    del tensor
    assert wanted() is None


def test_a_quantised_part_names_its_scales_once(quantised: Checkpoint) -> None:
    """Scales of layers that have none in the file, or under another spelling, are not asked for."""
    weights = plain_weights(quantised, {name: name for name in quantised.entries})
    assert sorted(weights.names) == sorted(quantised.entries)


@pytest.fixture
def quantised(tmp_path: Path) -> Checkpoint:
    layer = {"l.weight": torch.ones(2, 2).to(torch.float8_e4m3fn), "l.scale_weight": torch.ones(())}
    save_file(layer | {"plain.weight": torch.ones(2)}, tmp_path / "fp8.safetensors")
    return open_checkpoint(tmp_path / "fp8.safetensors")
