"""Which layers of a file are quantised, and how (quantization.md sections 3 to 5).

They are marked in one of four ways: a description beside the layer (`<layer>.comfy_quant`), the same description in
the metadata, a marker tensor for the whole file (older ComfyUI), or by nothing but their dtypes (official files).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...given_text import parse_json
from ..checkpoint import Checkpoint, CheckpointError
from .formats import FORMATS
from .layer import INPUT_SCALE, SCALE, SCALE_2, WEIGHT, QuantisedLayer

DESCRIPTION = "comfy_quant"
METADATA = "_quantization_metadata"
LEGACY_MARKER = "scaled_fp8"
ROTATION_GROUP = 256  # where a rotated layer does not say it
LARGEST_GROUP = 4096  # the matrix has its square
SPELLINGS = {
    "weight": WEIGHT,
    "weight_scale": SCALE,
    "weight_scale_2": SCALE_2,
    "input_scale": INPUT_SCALE,
    "scale_weight": SCALE,
    "scale_input": INPUT_SCALE,
}
BY_DTYPE = {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}
Description = Mapping[str, Any]


def quantised_layers(file: Checkpoint, names: Iterable[str] | None = None) -> dict[str, QuantisedLayer]:
    """{layer: how it is stored} for the quantised layers among `names` of the file (all of them without `names`).

    Raises CheckpointError, one line with the layer's name, for an unknown format and for missing scales.
    """
    candidates = file.entries if names is None else names
    layers = [name.removesuffix(f".{WEIGHT}") for name in candidates if name.endswith(f".{WEIGHT}")]
    described = {**_from_metadata(file), **_beside_layers(file, layers)}
    marked_full = any(
        name.split(".")[-1] == LEGACY_MARKER and entry.shape == (2,) for name, entry in file.entries.items()
    )
    found: dict[str, QuantisedLayer] = {}
    for name in layers:
        if name in described:
            found[name] = _described_layer(file, name, described[name])
        elif (kind := _format_by_dtypes(file, name)) is not None:
            found[name] = _layer(file, name, kind, full_precision=marked_full)
    return found


def companions(layer: QuantisedLayer) -> set[str]:
    """Names in the file that describe the layer but are no parameters of it."""
    return {f"{layer.name}.{spelling}" for spelling in (*SPELLINGS, DESCRIPTION) if spelling != WEIGHT}


def _from_metadata(file: Checkpoint) -> dict[str, Description]:
    text = file.metadata.get(METADATA)
    if text is None:
        return {}
    layers = _object(text, f"{file.path}, metadata entry '{METADATA}'").get("layers", {})
    if not isinstance(layers, dict) or not all(isinstance(layer, dict) for layer in layers.values()):
        raise CheckpointError(
            f"{file.path}, metadata entry '{METADATA}': expected a table of layers; download the file again"
        )
    return layers


def _beside_layers(file: Checkpoint, layers: list[str]) -> dict[str, Description]:
    names = {layer: f"{layer}.{DESCRIPTION}" for layer in layers if f"{layer}.{DESCRIPTION}" in file.entries}
    for name in names.values():
        if file.entries[name].dtype not in ("U8", "I8"):
            raise CheckpointError(
                f"{file.path}, tensor {name}: expected the bytes of a text, found {file.entries[name].dtype}; "
                "download the file again"
            )
    loaded = file.load(list(names.values())) if names else {}
    return {
        layer: _object(loaded[name].numpy().tobytes().decode("utf-8", "replace"), f"{file.path}, tensor {name}")
        for layer, name in names.items()
    }


def _object(text: str, origin: str) -> dict[str, Any]:
    try:
        value = parse_json(text)
    except ValueError as error:
        raise CheckpointError(f"{origin}: expected JSON, found {error}; download the file again") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{origin}: expected a JSON object; download the file again")
    return value


def _described_layer(file: Checkpoint, name: str, description: Description) -> QuantisedLayer:
    params = description.get("params")
    fields = {**(params if isinstance(params, dict) else {}), **description}
    rotation = fields.get("convrot_groupsize", ROTATION_GROUP) if fields.get("convrot") else None
    if rotation is not None and (type(rotation) is not int or not 0 < rotation <= LARGEST_GROUP):
        raise CheckpointError(
            f"{file.path}: {name}: expected a rotation in groups of 4, 16, 64, 256 …, found {str(rotation)[:40]}; "
            "download the file again"
        )
    return _layer(
        file,
        name,
        str(fields.get("format")),
        full_precision=bool(fields.get("full_precision_matrix_mult", False)),
        rotation=rotation,
    )


def _format_by_dtypes(file: Checkpoint, name: str) -> str | None:
    """The format of a layer without a description; None where its weight is an ordinary tensor."""
    tensors = _tensors(file, name)
    dtype = file.entries[tensors[WEIGHT]].dtype
    if dtype in BY_DTYPE and SCALE in tensors:
        scale = file.entries[tensors[SCALE]]
        return "mxfp8" if len(scale.shape) == 2 and scale.dtype in ("U8", "F8_E8M0") else BY_DTYPE[dtype]
    if dtype == "I8" and SCALE in tensors:
        return "int8_tensorwise"
    if dtype == "U8" and (SCALE in tensors or SCALE_2 in tensors):
        return "nvfp4"
    return None


def _layer(
    file: Checkpoint, name: str, kind: str, *, full_precision: bool, rotation: int | None = None
) -> QuantisedLayer:
    if kind not in FORMATS:
        raise CheckpointError(
            f"{file.path}: {name}: expected one of the formats {', '.join(FORMATS)}, found {kind!r}; "
            "use a file in another format"
        )
    tensors, known = _tensors(file, name), FORMATS[kind]
    missing = [part for part in known.needs if part not in tensors]
    dtype = file.entries[tensors[WEIGHT]].dtype
    if missing or dtype not in known.dtypes:
        raise CheckpointError(
            f"{file.path}: {name}: expected a {kind} layer with {', '.join(known.needs)} and its weight in "
            f"{known.dtypes[0]}, found it in {dtype}"
            + (f" without {', '.join(missing)}" if missing else "")
            + "; download the file again"
        )
    return QuantisedLayer(name=name, format=kind, tensors=tensors, full_precision=full_precision, rotation=rotation)


def _tensors(file: Checkpoint, name: str) -> dict[str, str]:
    return {part: f"{name}.{key}" for key, part in SPELLINGS.items() if f"{name}.{key}" in file.entries}
