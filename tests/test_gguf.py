"""GGUF: block arithmetic against its definition, names of llama.cpp, damage that the golden files do not have."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from openltx.model_loaders.checkpoint import Checkpoint, CheckpointError, open_checkpoint
from openltx.model_loaders.encoder_files import find_encoder
from openltx.model_loaders.gguf.blocks import BY_NAME, QUANTISED_TYPES, TYPES, dequantise_blocks
from openltx.model_loaders.gguf.file import GGUFCheckpoint
from openltx.model_loaders.gguf.names import IN_LAYER, WHOLE, encoder_name
from openltx.model_loaders.quantisation.weights import plain_weights
from openltx.model_loaders.text_encoder import load_decoder

ROOT = Path(__file__).resolve().parents[1]
TEXT_PREFIX = "language_model.model."

Row = tuple[str, tuple[int, ...], int, bytes]  # name, shape in torch's order, type, data


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _field(key: str, value: object) -> bytes:
    if isinstance(value, str):
        return _text(key) + struct.pack("<I", 8) + _text(value)
    if isinstance(value, list):
        return _text(key) + struct.pack("<IIQ", 9, 5, len(value)) + struct.pack(f"<{len(value)}i", *value)
    return _text(key) + struct.pack("<Ii", 5, value)


def write(path: Path, rows: list[Row], **fields: object) -> Path:
    table, data = b"", b""
    for name, shape, kind, content in rows:
        data += bytes(-len(data) % 32)
        table += _text(name) + struct.pack("<I", len(shape))
        table += b"".join(struct.pack("<Q", size) for size in reversed(shape)) + struct.pack("<IQ", kind, len(data))
        data += content
    head = b"GGUF" + struct.pack("<IQQ", 3, len(rows), len(fields))
    head += b"".join(_field(key, value) for key, value in fields.items()) + table
    path.write_bytes(head + bytes(-len(head) % 32) + data)
    return path


def opened(path: Path, rows: list[Row], **fields: object) -> Checkpoint:
    return open_checkpoint(write(path, rows, **fields))


FLOATS: Row = ("w", (2, 3), 0, torch.arange(6.0).numpy().tobytes())


def test_shapes_metadata_and_values(tmp_path: Path) -> None:
    file = opened(tmp_path / "f.gguf", [FLOATS], config='{"transformer": {"num_layers": 1}}')
    assert isinstance(file, GGUFCheckpoint)
    assert file.shapes == {"w": (2, 3)}
    assert file.config == {"transformer": {"num_layers": 1}}
    assert file.load(["w"])["w"].tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("kind", QUANTISED_TYPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_type_gives_as_many_values_as_it_has_in_any_dtype(kind: str, dtype: torch.dtype) -> None:
    block = BY_NAME[kind]
    generator = torch.Generator().manual_seed(0)
    data = torch.randint(0, 60, (3, block.bytes), generator=generator, dtype=torch.uint8)
    values = dequantise_blocks(data, kind, dtype=dtype)
    assert values.shape == (3, block.elements)
    assert values.dtype is dtype
    exact = dequantise_blocks(data, kind)
    assert (values.float() - exact).abs().max() <= 0.05 * exact.abs().max() + 1e-6


def _q4_k_by_definition(block: list[int]) -> list[float]:
    """quantization.md section 7.2, one element after the other."""
    d, dmin = struct.unpack("<ee", bytes(block[:4]))
    sc, qs, values = block[4:16], block[16:], []
    for j in range(8):
        if j < 4:
            scale, minimum = sc[j] & 63, sc[j + 4] & 63
        else:
            scale = (sc[j + 4] & 15) | ((sc[j - 4] >> 6) << 4)
            minimum = (sc[j + 4] >> 4) | ((sc[j] >> 6) << 4)
        for i in range(32):
            q = (qs[32 * (j // 2) + i] >> (4 * (j % 2))) & 15
            values.append(d * scale * q - dmin * minimum)
    return values


def test_a_block_element_by_element() -> None:
    data = torch.randint(0, 256, (1, 144), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    data[0, 1], data[0, 3] = 0x30, 0x2C  # ordinary half floats
    expected = torch.tensor(_q4_k_by_definition(data[0].tolist()))
    torch.testing.assert_close(dequantise_blocks(data, "Q4_K")[0], expected, rtol=1e-6, atol=1e-6)


def test_nothing_is_copied_before_use(tmp_path: Path) -> None:
    file = opened(tmp_path / "f.gguf", [("q", (4, 32), 8, bytes(4 * 34))])
    assert isinstance(file, GGUFCheckpoint)
    assert file.stored("q").shape == (4, 34)
    assert file.stored("q").untyped_storage().nbytes() == file.path.stat().st_size, "a view of the whole mapped file"


def test_lost_axes_come_back(tmp_path: Path) -> None:
    rows: list[Row] = [("keyframes_abs_pos_embedding", (4,), 0, bytes(16)), ("w", (4, 2), 0, bytes(32))]
    fields: dict[str, Any] = {"comfy.gguf.orig_shape.w": [2, 2, 2]}
    assert opened(tmp_path / "f.gguf", rows, **fields).shapes == {"keyframes_abs_pos_embedding": (1, 4), "w": (2, 2, 2)}
    for odd in ([3, 3], [-8], [8, 0], 8):
        with pytest.raises(CheckpointError, match="expected an original shape of 8 elements"):
            opened(tmp_path / "g.gguf", rows, **{"comfy.gguf.orig_shape.w": odd})


def test_a_text_encoder_gets_the_names_of_its_other_files(tmp_path: Path) -> None:
    one = torch.full((2,), 1.5).numpy().tobytes()
    names = ["token_embd.weight", "output_norm.weight", "blk.7.attn_q_norm.weight", "blk.7.ffn_gate.weight"]
    rows: list[Row] = [(name, (2,), 0, one) for name in names]
    fields: dict[str, Any] = {"general.architecture": "gemma3"}
    file = opened(tmp_path / "f.gguf", rows, **fields)
    loaded = {name: tensor[0].item() for name, tensor in file.load(file.names()).items()}
    assert loaded == {
        "model.embed_tokens.weight": 1.5,
        "model.norm.weight": 0.5,  # llama.cpp adds 1 to Gemma 3's norms
        "model.layers.7.self_attn.q_norm.weight": 0.5,
        "model.layers.7.mlp.gate_proj.weight": 1.5,
    }
    assert encoder_name("rope_freqs.weight") == "rope_freqs.weight"


def test_a_text_encoder_in_gguf_computes_what_its_safetensors_do(tmp_path: Path) -> None:
    folder = ROOT / "tests" / "golden" / "text" / "gemma3_tiny"
    rows: list[Row] = []
    for file in folder.glob("*.safetensors"):
        for name, tensor in load_file(file).items():
            if name.startswith(TEXT_PREFIX):
                theirs = _llama_name(name.removeprefix(TEXT_PREFIX))
                tensor = tensor.float() + (1 if theirs.endswith("norm.weight") else 0)
                rows.append((theirs, tuple(tensor.shape), 0, tensor.contiguous().numpy().tobytes()))
    fields: dict[str, Any] = {"general.architecture": "gemma3"}
    write(tmp_path / "gemma.gguf", rows, **fields)
    shutil.copy(folder / "config.json", tmp_path)
    ids = torch.tensor([[2, 5, 7, 9]])
    with torch.inference_mode():
        got, expected = (
            list(load_decoder(find_encoder(path)).hidden_states(ids))[-1] for path in (tmp_path / "gemma.gguf", folder)
        )
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def _llama_name(name: str) -> str:
    in_layer = {ours: theirs for theirs, ours in IN_LAYER.items()}
    whole = {ours: theirs for theirs, ours in WHOLE.items()}
    stem, _, kind = name.rpartition(".")
    if not stem.startswith("layers."):
        return f"{whole[stem]}.{kind}"
    _, index, rest = stem.split(".", 2)
    return f"blk.{index}.{in_layer[rest]}.{kind}"


def test_other_components_get_plain_tensors(tmp_path: Path) -> None:
    data = torch.randint(0, 50, (2, 34), dtype=torch.uint8)
    file = opened(tmp_path / "f.gguf", [("c.weight", (2, 32), 8, data.numpy().tobytes()), FLOATS])
    loaded = plain_weights(file, {"weight": "c.weight"}).load({"weight": (2, 32)}, torch.bfloat16)["weight"]
    expected: Tensor = dequantise_blocks(data, "Q8_0").view(2, 32).to(torch.bfloat16)
    assert torch.equal(loaded, expected)


@pytest.mark.parametrize(
    ("rows", "fields", "words"),
    [
        ([("w", (2, 3), 99, b"")], {}, "found type 99; use a file in another quantisation"),
        ([("w", (2, 16), 8, bytes(40))], {}, "rows of a multiple of 32 elements in Q8_0, found"),
        ([("w", (2, 64), 8, bytes(40))], {}, "truncated"),
        ([FLOATS, FLOATS], {}, "tensor 'w' occurs twice"),
        ([FLOATS], {"general.alignment": 24}, "general.alignment as a power of two, found 24"),
        ([FLOATS], {"general.alignment": 0}, "general.alignment as a power of two, found 0"),
    ],
)
def test_damage_is_named(tmp_path: Path, rows: list[Row], fields: dict[str, Any], words: str) -> None:
    with pytest.raises(CheckpointError, match=words) as caught:
        opened(tmp_path / "f.gguf", rows, **fields)
    assert str(caught.value).startswith(f"{tmp_path / 'f.gguf'}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "expected GGUF version 2 or 3, found 1"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0), "expected room for 9223372036854775808 tensors"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**40), "expected room for 1099511627776 fields"),
        (b"GGUF" + struct.pack("<I", 3), "expected 8 bytes of tensors, found 0"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<QHI", 2, 0xFFFF, 8), "expected UTF-8"),
    ],
)
def test_absurd_counts_are_named(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "f.gguf").write_bytes(data + bytes(8) if len(data) > 30 else data)
    with pytest.raises(CheckpointError, match=words):
        open_checkpoint(tmp_path / "f.gguf")


def test_the_table_is_consistent() -> None:
    for block in TYPES.values():
        assert (block.plain is None) == (block.dequantise is not None)
        assert block.plain is None or (block.elements, block.bytes) == (1, block.plain.itemsize)
