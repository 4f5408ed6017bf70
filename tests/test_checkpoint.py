"""Opening files: every damaged or foreign file is one line that says what, where and what to do."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from openltx.model_loaders.assemble import assemble, strip_prefix
from openltx.model_loaders.checkpoint import CheckpointError, open_checkpoint


def _file(path: Path, header: object, data: bytes = b"") -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + data)
    return path


ROW = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def test_names_shapes_and_metadata_without_touching_data(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2, 3), "@in/x": torch.ones(1)}, tmp_path / "f.safetensors", {"config": '{"k": 1}'})
    checkpoint = open_checkpoint(tmp_path / "f.safetensors")
    assert checkpoint.shapes == {"a": (2, 3)}
    assert checkpoint.config == {"k": 1}
    assert checkpoint.load(["a"])["a"].sum() == 6


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git-LFS pointer"),
        (b"abc", "too few"),
        (struct.pack("<Q", 5000) + b"{}", "incomplete"),
        (struct.pack("<Q", 2**60) + b"{}", "not a safetensors"),
        (struct.pack("<Q", 4) + b"[1, ", "not a safetensors"),
        (struct.pack("<Q", 2) + b"[]", "not a safetensors"),
        (b"PK\x03\x04" + b"\0" * 64, "not a safetensors"),
    ],
)
def test_foreign_and_damaged_files(tmp_path: Path, content: bytes, word: str) -> None:
    path = tmp_path / "f.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=word) as error:
        open_checkpoint(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_truncated_missing_and_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="truncated: 8 bytes of tensors expected, 4 found"):
        open_checkpoint(_file(tmp_path / "t.safetensors", {"a": ROW}, b"1234"))
    with pytest.raises(CheckpointError, match="no such file"):
        open_checkpoint(tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match="found a folder"):
        open_checkpoint(tmp_path)


def test_bad_config_is_named(tmp_path: Path) -> None:
    path = _file(tmp_path / "c.safetensors", {"__metadata__": {"config": "{"}, "a": ROW}, b"12345678")
    with pytest.raises(CheckpointError, match="'config'"):
        _ = open_checkpoint(path).config


def test_a_mismatch_is_a_report_of_at_most_five_lines(tmp_path: Path) -> None:
    tensors = {f"net.{i}": torch.ones(1) for i in range(9)} | {"net.weight": torch.ones(3, 3)}
    save_file(tensors, tmp_path / "f.safetensors")
    checkpoint = open_checkpoint(tmp_path / "f.safetensors")
    with pytest.raises(CheckpointError) as error:
        assemble(lambda: nn.Linear(2, 2), checkpoint, strip_prefix(checkpoint.names(), "net."), what="layer")
    lines = str(error.value).splitlines()
    assert len(lines) <= 5
    assert "1 tensors missing, 9 unknown, 1 of another shape" in lines[0]
    assert any("bias" in line for line in lines)
    assert any("expected (2, 2), found (3, 3)" in line for line in lines)


def test_assembled_networks_take_the_tensors_of_the_file(tmp_path: Path) -> None:
    save_file({"n.weight": torch.full((2, 2), 3.0), "n.bias": torch.zeros(2)}, tmp_path / "f.safetensors")
    checkpoint = open_checkpoint(tmp_path / "f.safetensors")
    layer = assemble(lambda: nn.Linear(2, 2), checkpoint, strip_prefix(checkpoint.names(), "n."), what="layer")
    assert layer(torch.ones(1, 2)).tolist() == [[6.0, 6.0]]
    assert not layer.weight.requires_grad
