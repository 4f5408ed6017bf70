"""Damaged quantised files and LoRAs, through everything that loading does with them.

As test_fuzz_headers.py, beyond the header: scales that are no numbers, parts that are missing, shapes and types that
fit the file but not each other. Each gives a network or one clean line, soon and in little memory.
"""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path

import pytest

MUTATIONS = 1200  # of each kind of file
LINES = 5  # of a refusal: a network that does not fit is listed
ROWS, COLUMNS, RANK = 32, 64, 4
FORMATS = ("fp8", "int8", "nvfp4", "mxfp8")
BYTES = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8}
ALIKE = (("F32", "I32", "U32"), ("F16", "BF16", "I16"), ("U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "BOOL"))
ODD_FLOATS = (float("nan"), float("inf"), -float("inf"))
ODD_SIZES = (0, -1, 2**31, 2**62, -(2**63))


@dataclass(frozen=True)
class Stored:
    """One tensor of a file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes


def stored(name: str, dtype: str, *shape: int, fill: bytes = b"\x38") -> Stored:
    size = prod(shape) * BYTES.get(dtype, 1)
    return Stored(name, dtype, shape, (fill * size)[:size])


def floats(name: str, *shape: int, value: float = 0.5) -> Stored:
    return stored(name, "F32", *shape, fill=struct.pack("<f", value))


def quantised() -> list[Stored]:
    """A layer (32, 64) in each format, named after it, and a plain one."""
    described = json.dumps({"format": "int8_tensorwise", "convrot": True, "convrot_groupsize": 64}).encode()
    return [
        stored("fp8.weight", "F8_E4M3", ROWS, COLUMNS),
        floats("fp8.weight_scale"),
        floats("fp8.input_scale"),
        stored("int8.weight", "I8", ROWS, COLUMNS),
        floats("int8.weight_scale", ROWS, 1),
        Stored("int8.comfy_quant", "U8", (len(described),), described),
        stored("nvfp4.weight", "U8", ROWS, COLUMNS // 2),
        stored("nvfp4.weight_scale", "F8_E4M3", 128, COLUMNS // 16),
        floats("nvfp4.weight_scale_2"),
        stored("mxfp8.weight", "F8_E4M3", ROWS, COLUMNS),
        stored("mxfp8.weight_scale", "U8", 128, 4, fill=b"\x7f"),
        floats("plain.weight", ROWS, COLUMNS),
        floats("plain.bias", ROWS),
    ]


def lora() -> list[Stored]:
    """An adapter of every kind for the layers of `quantised` and for the plain one."""
    pair = [floats("fp8.lora_A.weight", RANK, COLUMNS), floats("fp8.lora_B.weight", ROWS, RANK), floats("fp8.alpha")]
    kronecker = [floats("int8.lokr_w1", 4, 8), floats("int8.lokr_w2_a", 8, 2), floats("int8.lokr_w2_b", 2, 8)]
    hadamard = [
        *(floats(f"nvfp4.hada_w{i}_a", ROWS, 2) for i in (1, 2)),
        *(floats(f"nvfp4.hada_w{i}_b", 2, COLUMNS) for i in (1, 2)),
    ]
    dora = [
        floats("plain.lora_up.weight", ROWS, RANK),
        floats("plain.lora_down.weight", RANK, COLUMNS),
        floats("plain.dora_scale", ROWS, 1),
        floats("plain.diff_b", ROWS),
        stored("plain.reshape_weight", "I64", 2, fill=struct.pack("<qq", ROWS, COLUMNS)),
    ]
    whole = [floats("mxfp8.diff", ROWS, COLUMNS)]
    return [replace(part, name=f"diffusion_model.{part.name}") for part in pair + kronecker + hadamard + dora + whole]


def packed(tensors: list[Stored]) -> bytes:
    table, offset = {}, 0
    for tensor in tensors:
        offsets = [offset, offset + len(tensor.data)]
        table[tensor.name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": offsets}
        offset = offsets[1]
    raw = json.dumps(table).encode()
    return struct.pack("<Q", len(raw)) + raw + b"".join(tensor.data for tensor in tensors)


Mutation = Callable[[random.Random, list[Stored]], list[Stored]]


def _changed(tensors: list[Stored], at: int, **fields: object) -> list[Stored]:
    return [replace(tensor, **fields) if i == at else tensor for i, tensor in enumerate(tensors)]  # type: ignore[arg-type]


def _odd_scale(rng: random.Random, tensors: list[Stored]) -> list[Stored]:
    """NaN or infinity in the scale of a whole layer or row, or in an alpha: must be refused."""
    scales = [i for i, tensor in enumerate(tensors) if _is_scale(tensor)]
    at = rng.choice(scales)
    data, size = tensors[at].data, struct.pack("<f", rng.choice(ODD_FLOATS))
    place = rng.randrange(len(data) // 4) * 4
    return _changed(tensors, at, data=data[:place] + size + data[place + 4 :])


def _is_scale(tensor: Stored) -> bool:
    return tensor.dtype == "F32" and tensor.name.endswith(("scale", "scale_2", "alpha"))


def _odd_values(rng: random.Random, tensors: list[Stored]) -> list[Stored]:
    at = rng.randrange(len(tensors))
    size = len(tensors[at].data)
    fill = rng.choice([b"\xff", b"\x7f", b"\x00", b"\x80", bytes(rng.randrange(256) for _ in range(max(size, 1)))])
    return _changed(tensors, at, data=(fill * size)[:size])


def _odd_size_inside(rng: random.Random, tensors: list[Stored]) -> list[Stored]:
    """Sizes that a tensor holds as numbers: negative, absurd."""
    places = [i for i, tensor in enumerate(tensors) if tensor.dtype == "I64"]
    if not places:
        return _described(rng, tensors)
    return _changed(tensors, places[0], data=struct.pack("<qq", rng.choice(ODD_SIZES), rng.choice((*ODD_SIZES, 64))))


def _described(rng: random.Random, tensors: list[Stored]) -> list[Stored]:
    """Another description of the quantisation."""
    at = next(i for i, tensor in enumerate(tensors) if tensor.name.endswith("comfy_quant"))
    group: object = rng.choice([0, -4, 3, 256, 2**40, "64", None, [], 1.5, float("nan")])
    odd = {"format": rng.choice(["int8_tensorwise", "x", None, 3, []]), "convrot": True, "convrot_groupsize": group}
    text = rng.choice([json.dumps(odd), json.dumps({"params": odd}), json.dumps({"params": 3}), "[]", "{", "\xff"])
    return _changed(tensors, at, data=text.encode("latin-1"), shape=(len(text),))


def _turned(rng: random.Random, tensors: list[Stored]) -> list[Stored]:
    """The same number of elements in another shape."""
    at = rng.randrange(len(tensors))
    count = prod(tensors[at].shape)
    divisor = rng.choice([size for size in (1, 2, 4, 8, 16) if count % size == 0])
    shape = rng.choice(
        [(count,), (divisor, count // divisor), (1, divisor, count // divisor), (count // divisor, divisor)]
    )
    return _changed(tensors, at, shape=shape)


def _cut(rng: random.Random, tensors: list[Stored]) -> list[Stored]:
    """Fewer rows than its partners have, down to none."""
    at = rng.choice([i for i, tensor in enumerate(tensors) if tensor.shape])
    tensor = tensors[at]
    rows = rng.randrange(tensor.shape[0])
    size = len(tensor.data) // tensor.shape[0] * rows
    return _changed(tensors, at, shape=(rows, *tensor.shape[1:]), data=tensor.data[:size])


def _retyped(rng: random.Random, tensors: list[Stored]) -> list[Stored]:
    """Another type of the same width."""
    at = rng.randrange(len(tensors))
    kinds = next((kinds for kinds in ALIKE if tensors[at].dtype in kinds), ("F64", "U64", "C64"))
    return _changed(tensors, at, dtype=rng.choice(kinds))


def _dropped(rng: random.Random, tensors: list[Stored]) -> list[Stored]:
    return [tensor for tensor in tensors if rng.random() > 0.2] or tensors[:1]


def _renamed(rng: random.Random, tensors: list[Stored]) -> list[Stored]:
    """A part of one layer as a part of another, or as another part."""
    at, other = rng.randrange(len(tensors)), rng.choice(tensors)
    name = f"{tensors[at].name.rpartition('.')[0]}.{other.name.rpartition('.')[2]}"
    taken = {tensor.name for tensor in tensors}
    return _changed(tensors, at, name=name if name not in taken else name + "x")


MUTATORS: tuple[Mutation, ...] = (
    *(_odd_scale, _odd_values, _odd_size_inside, _turned, _cut, _retyped, _dropped, _renamed),
)


def run(folder: str, count: int = MUTATIONS) -> dict[str, float]:
    """All mutations, in this process: `count` of each kind of file."""
    import warnings

    import torch
    from torch import nn

    from openltx.benchmarks.hunt import Case, hunt
    from openltx.model_loaders.checkpoint import open_checkpoint
    from openltx.model_loaders.lora.file import open_lora
    from openltx.model_loaders.lora.network import LoraUse, apply_loras
    from openltx.model_loaders.lora.strengths import LoraStrengths
    from openltx.model_loaders.quantisation.weights import plain_weights
    from openltx.model_loaders.stored import assemble_kept
    from openltx.networks.operations import Operations, torch_operations

    class Network(nn.Module):
        def __init__(self, operations: Operations) -> None:
            super().__init__()
            for name in (*FORMATS, "plain"):
                self.add_module(name, operations.Linear(COLUMNS, ROWS, bias=name == "plain"))

    def network(path: Path) -> Network:
        file = open_checkpoint(path)
        weights = plain_weights(file, {name: name for name in file.entries})
        return assemble_kept(Network, [weights], operations=torch_operations, below="", what="network")

    def used(made: Network) -> None:
        for child in made.children():
            child(torch.ones(2, COLUMNS))

    def quantised_file(path: Path) -> None:
        used(network(path))

    def lora_file(path: Path) -> None:
        made = network(whole)
        opened = open_lora(path)
        matched = opened.match([name for name, _ in made.named_parameters()])
        opened.report(matched)
        apply_loras(made, [LoraUse(lora=opened, matched=matched, strengths=LoraStrengths())])
        used(made)

    warnings.simplefilter("ignore")
    whole, path = Path(folder) / "whole.safetensors", Path(folder) / "file.safetensors"
    whole.write_bytes(packed(quantised()))
    path.write_bytes(packed(lora()))
    quantised_file(whole)
    lora_file(path)

    def cases() -> Iterator[Case]:
        for original, load in ((quantised(), quantised_file), (lora(), lora_file)):
            for seed in range(count):
                mutate = MUTATORS[seed % len(MUTATORS)]
                path.write_bytes(packed(mutate(random.Random(seed), original)))
                name = f"{load.__name__}, seed {seed}, {mutate.__name__}"
                yield Case(name=name, take=partial(load, path), refused=mutate is _odd_scale)

    return hunt(cases(), Path(folder), lines=LINES)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="NOT TESTED: fuzzing needs Linux for its limits")
def test_every_damaged_file_is_one_clean_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    counts = json.loads(done.stdout.splitlines()[-1])
    assert counts["refused"] + counts["opened"] == 2 * MUTATIONS
    assert counts["refused"] > MUTATIONS // 2, counts
    assert counts["opened"] > MUTATIONS // 8, counts


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], *map(int, sys.argv[2:]))))
