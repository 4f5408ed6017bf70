"""Damaged headers: whatever a file claims, opening it gives a checkpoint or one clean line, soon and in little memory.

The mutations run in a process of their own with a limit on its address space and a watchdog on every file
(benchmarks/hunt.py).
"""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

MUTATIONS = 1500  # of each format
HUGE = (2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1)
ODD: tuple[Any, ...] = (None, True, -1, 1.5, "x", [], {}, 10**30, [[1]], [-1, 2], ["a", "b"], [0, 2**70])

Mutation = Callable[[random.Random, bytes], bytes]


def safetensors() -> bytes:
    table: dict[str, Any] = {"__metadata__": {"config": '{"transformer": {}}', "model_version": "2.3"}}
    data = b""
    for index, shape in enumerate(((2, 3), (4,), (), (0, 5), (2, 2, 2))):
        size = 4
        for length in shape:
            size *= length
        offsets = [len(data), len(data) + size]
        name = f"transformer_blocks.{index}.attn1.to_q.weight"
        table[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": offsets}
        data += bytes(size)
    raw = json.dumps(table).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def gguf() -> bytes:
    fields = [
        _text("general.architecture") + struct.pack("<I", 8) + _text("ltxv"),
        _text("general.alignment") + struct.pack("<II", 4, 32),
        _text("comfy.gguf.orig_shape.b") + struct.pack("<IIQ", 9, 5, 2) + struct.pack("<ii", 4, 8),
        _text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, 3) + b"".join(map(_text, "abc")),
    ]
    tensors = [
        _text("a") + struct.pack("<IQQIQ", 2, 64, 2, 8, 0),  # Q8_0: 4 blocks of 34 bytes
        _text("b") + struct.pack("<IQIQ", 1, 32, 0, 160),
        _text("c") + struct.pack("<IQIQ", 1, 256, 12, 288),  # Q4_K: one block of 144
    ]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(fields)) + b"".join(fields + tensors)
    return head + bytes(-len(head) % 32) + bytes(432)


def _table(data: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def _packed(table: object, rest: bytes) -> bytes:
    raw = json.dumps(table).encode()
    return struct.pack("<Q", len(raw)) + raw + rest


def _odd_field(rng: random.Random, data: bytes) -> bytes:
    table, rest = _table(data)
    name = rng.choice([key for key in table if key != "__metadata__"])
    table[name][rng.choice(["dtype", "shape", "data_offsets", "extra"])] = rng.choice([*ODD, *HUGE])
    return _packed(table, rest)


def _odd_number(rng: random.Random, data: bytes) -> bytes:
    """One size or offset: overlapping, negative, huge."""
    table, rest = _table(data)
    row = table[rng.choice([key for key in table if key != "__metadata__"])]
    numbers = row[rng.choice(["shape", "data_offsets"])]
    if numbers:
        numbers[rng.randrange(len(numbers))] = rng.choice([*HUGE, -1, -(2**62), 0, 1, 3, rng.randrange(200)])
    return _packed(table, rest)


def _odd_row(rng: random.Random, data: bytes) -> bytes:
    table, rest = _table(data)
    table[rng.choice(list(table))] = rng.choice([*ODD, {"dtype": "F32"}, {"a": 1}])
    return _packed(table, rest)


def _odd_dtype(rng: random.Random, data: bytes) -> bytes:
    words = (b"F32", b"F64", b"BF16", b"Q4_K", b"", b"F32 ", b"\xff\xfe", b"\\ud800", b"I8")
    return data.replace(b'"F32"', b'"' + rng.choice(words) + b'"', rng.randrange(1, 4))


def _duplicate(rng: random.Random, data: bytes) -> bytes:
    (length,) = struct.unpack("<Q", data[:8])
    raw = data[8 : 8 + length]
    first = b'"transformer_blocks.0.attn1.to_q.weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}'
    extra = rng.choice([first, b'"__metadata__": {}', b'"k": {"dtype": "F32", "dtype": "F32", "shape": []}'])
    raw = raw[:-1] + b", " + extra + b"}"
    return struct.pack("<Q", len(raw)) + raw + data[8 + length :]


def _deep(rng: random.Random, data: bytes) -> bytes:
    depth = rng.choice([10, 1000, 100_000])
    raw = b'{"a": ' + rng.choice([b"[" * depth, b'{"a":' * depth, b"[" * depth + b"]" * depth]) + b"}"
    return struct.pack("<Q", len(raw)) + raw


def _numbers(rng: random.Random, data: bytes) -> bytes:
    """Constants that JSON does not have, and numbers too long for anything."""
    number = rng.choice([b"NaN", b"Infinity", b"-Infinity", b"1e999", b"9" * 5000, b"-0", b"1.0"])
    (length,) = struct.unpack("<Q", data[:8])
    raw = data[8 : 8 + length].replace(b"[2, 3]", b"[2, " + number + b"]")
    return struct.pack("<Q", len(raw)) + raw + data[8 + length :]


def _length(rng: random.Random, data: bytes) -> bytes:
    return struct.pack("<Q", rng.choice([*HUGE, 0, 1, 2, len(data), len(data) - 8, 100 * 2**20])) + data[8:]


def _cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def _longer(rng: random.Random, data: bytes) -> bytes:
    return data + bytes(rng.randrange(1, 100))


def _bytes(rng: random.Random, data: bytes) -> bytes:
    """A few bytes anywhere in the header: text that is no UTF-8, other lengths, other types."""
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        changed[rng.randrange(min(len(data), 700))] = rng.randrange(256)
    return bytes(changed)


def _word(rng: random.Random, data: bytes) -> bytes:
    """A count, length or offset of 4 or 8 bytes."""
    changed, at = bytearray(data), rng.randrange(4, min(len(data), 500))
    number = rng.choice([*HUGE, 0, 1, 2**16, rng.randrange(2**20)])
    size = rng.choice([4, 8])
    changed[at : at + size] = (number % 2 ** (8 * size)).to_bytes(size, "little")
    return bytes(changed[: len(data)])


def _count(rng: random.Random, data: bytes) -> bytes:
    changed, at = bytearray(data), rng.choice([8, 16])
    changed[at : at + 8] = struct.pack("<Q", rng.choice([*HUGE, 0, 1, 100, 10**9]))
    return bytes(changed)


def _gguf_duplicate(rng: random.Random, data: bytes) -> bytes:
    return data.replace(_text("b") + b"\x01", _text("a") + b"\x01") if rng.random() < 0.5 else data[:4] * 3 + data


TABLE: tuple[Mutation, ...] = (_odd_field, _odd_number, _odd_row, _odd_dtype, _duplicate, _deep, _numbers)
ANY: tuple[Mutation, ...] = (_cut, _longer, _bytes, _length)
COUNTED: tuple[Mutation, ...] = (_cut, _bytes, _word, _word, _count, _gguf_duplicate)


def run(folder: str, count: int = MUTATIONS) -> dict[str, float]:
    """All mutations, in this process: `count` of each format."""
    from openltx.benchmarks.hunt import Case, hunt
    from openltx.model_loaders.checkpoint import CheckpointError, open_checkpoint
    from openltx.model_loaders.detection import detect_checkpoint
    from openltx.model_loaders.gguf import file as _gguf_is_loaded  # noqa: F401  before the limit
    from openltx.model_loaders.lora.keys import match

    path = Path(folder) / "file.bin"

    def take() -> None:
        opened = open_checkpoint(path)
        detect_checkpoint(opened)
        match(opened.names(), ["transformer_blocks.0.attn1.to_q.weight"])
        opened.load(opened.names())

    def cases() -> Iterator[Case]:
        for original, mutations in ((safetensors(), TABLE + ANY), (gguf(), COUNTED)):
            for seed in range(count):
                mutation = mutations[seed % len(mutations)]
                path.write_bytes(mutation(random.Random(seed), original))
                yield Case(name=f"{original[:4]!r} seed {seed}: {mutation.__name__}", take=take)

    return hunt(cases(), Path(folder), refusal=CheckpointError)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="NOT TESTED: fuzzing needs Linux for its limits")
def test_every_damaged_header_is_one_clean_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    counts = json.loads(done.stdout.splitlines()[-1])
    assert counts["refused"] + counts["opened"] == 2 * MUTATIONS
    assert counts["refused"] > MUTATIONS, counts


def test_the_originals_open(tmp_path: Path) -> None:
    from openltx.model_loaders.checkpoint import open_checkpoint

    (tmp_path / "a.safetensors").write_bytes(safetensors())
    (tmp_path / "b.gguf").write_bytes(gguf())
    assert len(open_checkpoint(tmp_path / "a.safetensors").entries) == 5
    opened = open_checkpoint(tmp_path / "b.gguf")
    assert opened.shapes == {"a": (2, 64), "b": (4, 8), "c": (256,)}
    assert {name: tensor.dtype.itemsize for name, tensor in opened.load(opened.names()).items()} == dict.fromkeys(
        "abc", 4
    )


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], *map(int, sys.argv[2:]))))
