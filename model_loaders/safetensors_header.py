"""The JSON table at the start of a safetensors file, checked in every field before anything relies on it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from typing import Any, NoReturn

MAX_HEADER_BYTES = 100 * 2**20
METADATA = "__metadata__"
MAX_AXES = 16
AGAIN = "the file is damaged, download it again"

# bits an element, by the spelling of the format
BITS = {
    "BOOL": 8,
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}

# names in torch; the sub-byte types have none
TORCH_NAMES = {
    "BOOL": "bool",
    **{
        f"{letter}{bits}": f"{kind}{bits}" for letter, kind in (("U", "uint"), ("I", "int")) for bits in (8, 16, 32, 64)
    },
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
    "BF16": "bfloat16",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
}


@dataclass(frozen=True, kw_only=True)
class TensorEntry:
    """One row of a header."""

    dtype: str  # safetensors spelling: "F32", "BF16", "F8_E4M3", …; in a GGUF file the name of its block type
    shape: tuple[int, ...]
    start: int  # bytes, counted from the end of the header
    end: int


def parse_header(raw: bytes, *, data_bytes: int) -> tuple[dict[str, str], dict[str, TensorEntry]]:
    """Metadata and tensors, in the order of their bytes.

    raw: the JSON text; data_bytes: how many bytes follow it in the file. Raises ValueError, one line without the
    path, unless the table is well formed, every dtype is known, every shape fits its bytes, and the tensors fill the
    data without overlap or hole.
    """
    table = _table(raw)
    metadata = _metadata(table.pop(METADATA, {}))
    entries = {name: _entry(name, row) for name, row in table.items()}
    ordered = dict(sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)))
    needed = max((entry.end for entry in entries.values()), default=0)
    if needed > data_bytes:
        raise ValueError(
            f"truncated: {needed} bytes of tensors expected, {data_bytes} found; the download is incomplete, "
            "fetch it again"
        )
    _refuse_gaps(ordered)
    if needed < data_bytes:
        raise ValueError(f"{needed} bytes of tensors expected, {data_bytes} found; {AGAIN}")
    return metadata, ordered


def _table(raw: bytes) -> dict[str, Any]:
    try:
        table = json.loads(raw.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0] if isinstance(error, _Duplicate) else "its header is no valid JSON table"
        raise ValueError(
            f"not a safetensors file ({reason}); weights are read from .safetensors and .gguf only"
        ) from error
    if not isinstance(table, dict):
        raise ValueError("not a safetensors file (its header is no table); weights are read from .safetensors only")
    return table


class _Duplicate(ValueError):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        seen: set[str] = set()
        name = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise _Duplicate(f"its header names {name[:80]!r} twice")
    for name in table:
        name.encode("utf-8")  # half a surrogate pair cannot be printed or looked up: UnicodeEncodeError is a ValueError
    return table


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _metadata(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ValueError(f"expected texts as metadata, found something else; {AGAIN}")
    return value


def _entry(name: str, row: object) -> TensorEntry:
    if not isinstance(row, dict) or row.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {name[:80]!r}: expected dtype, shape and data_offsets, found something else; {AGAIN}")
    dtype, shape, offsets = row["dtype"], row["shape"], row["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BITS:
        raise ValueError(f"tensor {name[:80]!r}: expected a known dtype, found {str(dtype)[:40]!r}; {AGAIN}")
    if not _naturals(shape):
        raise ValueError(f"tensor {name[:80]!r}: expected a shape of sizes, found {str(shape)[:80]}; {AGAIN}")
    if not _naturals(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ValueError(f"tensor {name[:80]!r}: expected two rising offsets, found {str(offsets)[:80]}; {AGAIN}")
    bits = prod(shape) * BITS[dtype]
    if bits != (offsets[1] - offsets[0]) * 8:
        raise ValueError(
            f"tensor {name[:80]!r}: {dtype} {str(shape)[:80]} does not fill {offsets[1] - offsets[0]} bytes; {AGAIN}"
        )
    return TensorEntry(dtype=dtype, shape=tuple(shape), start=offsets[0], end=offsets[1])


def _naturals(value: object) -> bool:
    """A short list of whole numbers that fit into 64 bits."""
    return (
        isinstance(value, list)
        and len(value) <= MAX_AXES
        and all(type(number) is int and 0 <= number < 2**63 for number in value)
    )


def _refuse_gaps(ordered: dict[str, TensorEntry]) -> None:
    end, before = 0, "the header"
    for name, entry in ordered.items():
        if entry.start != end:
            what = "overlaps" if entry.start < end else "leaves a hole after"
            raise ValueError(f"tensor {name[:80]!r} {what} {before[:80]!r}; {AGAIN}")
        end, before = entry.end, name
