"""Text projection and connectors of an LTX checkpoint, wherever in the user's files they lie (text.md section 1.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ..given_text import parse_json
from ..networks.operations import Operations, torch_operations
from ..networks.text.connector import Connector, ConnectorConfig
from ..networks.text.features import ProjectionConfig, SeparateProjection, SharedProjection
from .assemble import strip_prefix
from .checkpoint import Checkpoint, CheckpointError
from .generations import version_numbers
from .quantisation.weights import Weights, assemble_plain, plain_weights
from .stored import assemble_kept

Modality = Literal["video", "audio"]
Shapes = Mapping[str, tuple[int, ...]]

SHARED = "aggregate_embed.weight"
VIDEO, AUDIO = "video_aggregate_embed.weight", "audio_aggregate_embed.weight"
REGISTERS = "learnable_registers"
GATE = "transformer_1d_blocks.0.attn1.to_gate_logits.weight"
UNGATED_HEADS = {3840: 30}  # published width of LTX-2: heads, where no configuration says it
# What the configuration of version 2 says; version 1 has none of these entries.
SEPARATE_FLAGS = {
    "caption_proj_before_connector": True,
    "caption_projection_first_linear": False,
    "caption_proj_input_norm": False,
    "caption_projection_second_linear": False,
}
# Entries whose other values would be another network; absent means the published value.
FIXED = {
    "rope_type": "split",
    "frequencies_precision": "float64",
    "connector_norm_output": True,
}


def load_projection(
    files: Sequence[Checkpoint], *, hidden_size: int, num_states: int, operations: Operations = torch_operations
) -> SharedProjection | SeparateProjection:
    """The projection of an encoder with `num_states` hidden states of `hidden_size`, from the first file that has one.

    Raises CheckpointError when no file has it, when it expects another encoder, or when the configuration names a
    feature extractor that is neither version 1 nor version 2.
    """
    part = find_projection(files)
    _refuse_unknown_extractor(transformer_config(files), part.file)
    config = projection_config(part.shapes, hidden_size=hidden_size, num_states=num_states)
    inputs = next(shape[1] for name, shape in part.shapes.items() if name.endswith(SHARED))
    if inputs != config.flat_size:
        raise CheckpointError(
            f"{part.file.path}: its text projection expects {inputs} inputs, the encoder gives {num_states} hidden "
            f"states of {hidden_size} ({config.flat_size}); use the encoder of that model (Gemma 12B: 49 of 3840)"
        )
    kind = SharedProjection if config.audio_features is None else SeparateProjection
    # Plain even from a quantised file: it is computed in columns, and as a whole in each call it would take 3 GB.
    return assemble_plain(lambda: kind(config, operations=operations), [part], what="text projection")


def load_connector(
    files: Sequence[Checkpoint], modality: Modality, *, operations: Operations = torch_operations
) -> Connector:
    """The video or audio connector from the first file that has it.

    Raises CheckpointError when no file has it, or for a configuration that the network does not have.
    """
    part = find_connector(files, modality)
    config = connector_config(transformer_config(files), part.shapes, modality)
    return assemble_kept(
        lambda chosen: Connector(config, operations=chosen),
        [part],
        operations=operations,
        below="",
        what=f"{modality} connector",
    )


def find_projection(files: Sequence[Checkpoint]) -> Weights:
    """The tensors of the text projection, from the first file that has one; CheckpointError when none has."""
    for file in files:
        for marker in (VIDEO, SHARED):
            for name in file.entries:
                if name == marker or name.endswith(f".{marker}"):
                    prefix = name.removesuffix(marker)
                    tensors = strip_prefix(file.entries, prefix) if prefix else {n: n for n in _projection_names(file)}
                    return plain_weights(file, tensors)
    raise CheckpointError(
        f"{_paths(files)}: expected a text projection (text_embedding_projection.*), found none; "
        "give the LTX checkpoint, for LTX-2.5 the text encoder file 'with-proj'"
    )


def find_connector(files: Sequence[Checkpoint], modality: Modality) -> Weights:
    """The tensors of a connector, from the first file that has it; CheckpointError when none has."""
    marker = f"{modality}_embeddings_connector."
    for file in files:
        for name in file.entries:
            if name.endswith(f"{marker}{REGISTERS}"):
                return plain_weights(file, strip_prefix(file.entries, name.removesuffix(REGISTERS)))
    raise CheckpointError(
        f"{_paths(files)}: expected a text connector ({marker}*), found none; "
        "give the LTX checkpoint itself, or the connectors file that belongs to it"
    )


def transformer_config(files: Sequence[Checkpoint]) -> Mapping[str, Any]:
    """`config.transformer` of the first file that has one; empty when none has."""
    found = (file.config.get("transformer") for file in files)
    return next((config for config in found if isinstance(config, dict) and config), {})


def projection_config(shapes: Shapes, *, hidden_size: int, num_states: int) -> ProjectionConfig:
    """Version and feature counts from the shapes of the projection's tensors."""
    if SHARED in shapes:
        return ProjectionConfig(hidden_size=hidden_size, num_states=num_states, video_features=shapes[SHARED][0])
    if AUDIO not in shapes:
        raise CheckpointError(f"text projection: {AUDIO} is missing beside {VIDEO}; download the file again")
    return ProjectionConfig(
        hidden_size=hidden_size,
        num_states=num_states,
        video_features=shapes[VIDEO][0],
        audio_features=shapes[AUDIO][0],
    )


def connector_config(config: Mapping[str, Any], shapes: Shapes, modality: Modality) -> ConnectorConfig:
    """From `config.transformer` and the connector's shapes; where the configuration is empty, from the shapes alone.

    Audio entries fall back to those of video. Raises CheckpointError for values that the network does not have.
    """
    _refuse_unsupported(config)
    registers, width = shapes[REGISTERS]
    num_heads = _entry(config, modality, "num_attention_heads") or _heads_from_shapes(shapes, width)
    num_layers = _entry(config, modality, "num_layers") or len({n.split(".")[1] for n in shapes if "attn1.to_q" in n})
    gated = config.get("connector_apply_gated_attention", False) if config else GATE in shapes
    max_position = config.get("connector_positional_embedding_max_pos", [4096])[0]
    return ConnectorConfig(
        num_layers=num_layers,
        num_heads=num_heads,
        head_dim=_entry(config, modality, "attention_head_dim") or width // num_heads,
        num_registers=registers,
        gated=gated,
        ff_bias=config.get("connector_ff_bias", True),
        max_position=max_position,
    )


def generation(checkpoint: Checkpoint, files: Sequence[Checkpoint]) -> str:
    """ "2", "2.3" or "2.5" of a checkpoint, as far as text conditioning tells them apart."""
    if SHARED in find_projection(files).tensors:
        return "2"
    newer = "gemma_source_checkpoint" in checkpoint.metadata or version_numbers(checkpoint.metadata) >= (2, 4, 0)
    return "2.5" if newer else "2.3"


def source_gemma_version(checkpoint: Checkpoint) -> str | None:
    """`gemma_version` of the metadata entry `gemma_source_checkpoint`; None without the entry."""
    text = checkpoint.metadata.get("gemma_source_checkpoint")
    if text is None:
        return None
    try:
        return str(parse_json(text)["gemma_version"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{checkpoint.path}: expected a JSON object with gemma_version in the metadata entry "
            "'gemma_source_checkpoint', found something else; download the file again"
        ) from error


def _entry(config: Mapping[str, Any], modality: Modality, name: str) -> int | None:
    value = config.get(f"connector_{name}")
    if modality == "audio":
        value = config.get(f"audio_connector_{name}", value)
    return value


def _heads_from_shapes(shapes: Shapes, width: int) -> int:
    if GATE in shapes:
        return shapes[GATE][0]
    if width not in UNGATED_HEADS:
        raise CheckpointError(
            f"text connector: no configuration, and {width} is no published width without gates "
            f"({', '.join(map(str, UNGATED_HEADS))}); give the LTX checkpoint with its metadata as well"
        )
    return UNGATED_HEADS[width]


def _refuse_unsupported(config: Mapping[str, Any]) -> None:
    for name, value in FIXED.items():
        if config.get(name, value) != value:
            raise CheckpointError(
                f"LTX config: expected {name} {value!r}, found {config[name]!r}; this model is not supported"
            )


def _refuse_unknown_extractor(config: Mapping[str, Any], file: Checkpoint) -> None:
    found = {name: config[name] for name in SEPARATE_FLAGS if name in config}
    if found and found != SEPARATE_FLAGS:
        raise CheckpointError(
            f"{file.path}: expected the caption projection entries {SEPARATE_FLAGS} or none of them, found {found}; "
            "this model is not supported"
        )


def _projection_names(file: Checkpoint) -> list[str]:
    """Names in a stand-alone file without prefix."""
    return [name for name in file.entries if name.split(".")[0].endswith("aggregate_embed")]


def _paths(files: Sequence[Checkpoint]) -> str:
    return ", ".join(dict.fromkeys(str(file.path) for file in files))
