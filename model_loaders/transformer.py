"""Checkpoint -> audio-video transformer: its prefix, generation, configuration and tensors.

Source: spec page transformer, sections 1, 1.1 and 13; page model_files, section 3 rule 5.
Flags follow the tensors, because metadata of community files can be missing or stale; sizes and numbers follow the
metadata, then the tensors, then the published values. Names and shapes must then match exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..networks.operations import Operations, torch_operations
from ..networks.transformer import RopeConfig, StreamConfig, Transformer, TransformerConfig
from .assemble import assign, build_on_meta, refuse_mismatch, strip_prefix
from .checkpoint import Checkpoint, CheckpointError
from .collector import uncollected
from .generations import version_numbers
from .operations import stored_operations
from .quantisation.weights import Weights, plain_weights
from .stored import assign_stored

PREFIXES = ("model.diffusion_model.", "diffusion_model.", "")
CONNECTORS = ("video_embeddings_connector.", "audio_embeddings_connector.")
KEYFRAMES = "keyframes_abs_pos_embedding"
BLOCK = "transformer_blocks."
PUBLISHED_HEADS = 32
PLAIN_DTYPES = ("F32", "BF16", "F16", "F64")

# What the network does not implement otherwise; a missing field is accepted.
ASSERTED: dict[str, tuple[Any, ...]] = {
    "norm_elementwise_affine": (False,),
    "attention_bias": (True,),
    "activation_fn": ("gelu-approximate",),
    "standardization_norm": ("rms_norm",),
    "qk_norm": ("rms_norm",),
    "positional_embedding_type": ("rope",),
    "use_middle_indices_grid": (True,),
    "use_audio_video_cross_attention": (True,),
    "av_cross_ada_norm": (True,),
    "cross_attention_norm": (True,),
    "share_ff": (False,),
    "double_self_attention": (False,),
    "only_cross_attention": (False,),
    "upcast_attention": (False,),
    "use_linear_projection": (False,),
    "num_embeds_ada_norm": (1000,),
    "num_vector_embeds": (None,),
    "dropout": (0,),
    "rope_type": ("split", "interleaved"),
    "frequencies_precision": ("float64", "float32"),
}


@uncollected()
def load_transformer(
    checkpoint: Checkpoint, *, operations: Operations = torch_operations, network: type[Transformer] = Transformer
) -> Transformer:
    """The transformer of a file, its parameters memory-mapped in the dtypes of the file, on the CPU.

    network: the class to build, for a host that calls it in another way.
    operations: torch's plain layers, or a host's. With the plain ones the linear layers of the blocks of a quantised
    file keep their weights in stored form, and dequantise them in each call; a host's take plain files only.
    Raises CheckpointError for a file without one, for unsupported configuration values, for missing, unknown or
    misshapen tensors, and for quantised ones where a host's layers are asked for.
    """
    config, weights = transformer_config(checkpoint), _weights(checkpoint)
    checkpoint.read_ahead(weights.names)
    if weights.is_quantised and operations is not torch_operations:
        _refuse_quantised(weights)
    chosen = stored_operations if weights.is_quantised else operations
    built = build_on_meta(lambda: network(config, operations=chosen))
    expected = {name: tuple(tensor.shape) for name, tensor in built.state_dict().items()}
    shapes = weights.shapes_for(expected)
    if len(shapes.get(KEYFRAMES, ())) == 1:  # some conversions drop the leading 1
        shapes[KEYFRAMES] = (1, *shapes[KEYFRAMES])
    refuse_mismatch(built, shapes, checkpoint, "transformer")
    if weights.is_quantised:
        return assign_stored(built, [weights], shapes, below=BLOCK)
    loaded = checkpoint.load(list(weights.tensors.values()))
    return assign(built, {name: loaded[key].reshape(shapes[name]) for name, key in weights.tensors.items()})


def is_quantised(checkpoint: Checkpoint) -> bool:
    """Whether a file's transformer has weights that only operations with a knowledge of their format can read."""
    return _weights(checkpoint).is_quantised


def transformer_tensors(checkpoint: Checkpoint) -> dict[str, str]:
    """{parameter name: name in the file}, without the text connectors that share the prefix."""
    names = strip_prefix(checkpoint.entries, _prefix(checkpoint))
    return {name: key for name, key in names.items() if not name.startswith(CONNECTORS)}


def generation_of_transformer(checkpoint: Checkpoint) -> str:
    """ "2", "2.3" or "2.5", from the tensors. Raises CheckpointError for any other structure.

    Only an audio-only file is the same in 2.3 and 2.5; there `model_version` of the metadata decides, 2.3 without it.
    """
    tensors = _tensors(checkpoint)
    rows = tensors.table_rows()
    if rows == 6:
        return "2"
    if tensors.has("patchify_proj.weight"):
        return "2.3" if tensors.has("transformer_blocks.0.ff.net.0.proj.bias") else "2.5"
    return "2.5" if version_numbers(checkpoint.metadata) >= (2, 5) else "2.3"


def transformer_config(checkpoint: Checkpoint) -> TransformerConfig:
    """The configuration, from the metadata and the tensors (see the head of this module).

    Raises CheckpointError naming the field for unsupported or contradictory values.
    """
    fields = _fields(checkpoint)
    tensors = _tensors(checkpoint)
    text_modulation = tensors.table_rows() == 9
    heads = fields.integer("num_attention_heads", tensors.heads())
    if fields.integer("audio_num_attention_heads", heads) != heads:
        raise fields.error("audio_num_attention_heads", f"{heads}, as num_attention_heads")
    video = _stream_config(fields, tensors, "", heads)
    audio = _stream_config(fields, tensors, "audio_", heads)
    if audio is None and not text_modulation and fields.values.get("_class_name") == "Transformer3DModel":
        raise CheckpointError(
            f"{checkpoint.path}: expected an LTX-2, 2.3 or 2.5 transformer, found an older video-only LTX-Video model; "
            "it is not supported"
        )
    try:
        return TransformerConfig(
            num_layers=fields.integer("num_layers", tensors.layers()),
            num_heads=heads,
            video=video,
            audio=audio,
            caption_channels=tensors.caption_channels(),
            text_modulation=text_modulation,
            prompt_embedder=tensors.any_stream("prompt_adaln_single.linear.weight"),
            gated_attention=tensors.any_stream("attn1.to_gate_logits.weight", block=True),
            keyframe_marker=tensors.has(KEYFRAMES),
            norm_eps=fields.number("norm_eps", 1e-6),
            timestep_scale=fields.number("timestep_scale_multiplier", 1000.0),
            gate_timestep_scale=fields.number("av_ca_timestep_scale_multiplier", 1000.0),
            rope=RopeConfig(
                theta=fields.number("positional_embedding_theta", 10000.0),
                interleaved=fields.values.get("rope_type") == "interleaved",
                float64_grid=fields.values.get("frequencies_precision") != "float32",
            ),
        )
    except ValueError as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{checkpoint.path}: unsupported transformer configuration: {error}") from error


@dataclass(frozen=True)
class _Fields:
    """`config["transformer"]`: numbers are checked, missing ones replaced."""

    path: str
    values: Mapping[str, Any]

    def integer(self, name: str, default: int) -> int:
        value = self.number(name, default)
        if value != int(value):
            raise self.error(name, "a whole number")
        return int(value)

    def number(self, name: str, default: float) -> float:
        value = self.values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
            raise self.error(name, "a positive number")
        return value

    def numbers(self, name: str, default: tuple[float, ...]) -> tuple[float, ...]:
        values = self.values.get(name, default)
        if not isinstance(values, (list, tuple)) or not all(
            isinstance(value, (int, float)) and value > 0 for value in values
        ):
            raise self.error(name, "a list of positive numbers")
        return tuple(values)

    def refuse_unsupported(self) -> None:
        for name, supported in ASSERTED.items():
            if name in self.values and self.values[name] not in supported:
                raise self.error(name, " or ".join(repr(value) for value in supported))

    def error(self, name: str, expected: str) -> CheckpointError:
        return CheckpointError(
            f"{self.path}: transformer configuration: expected {name} = {expected}, found {self.values.get(name)!r}; "
            "this transformer is not supported"
        )


@dataclass(frozen=True)
class _Tensors:
    """Names and shapes of the transformer's tensors, without prefix, and what they tell."""

    path: str
    shapes: Mapping[str, tuple[int, ...]]

    def has(self, name: str) -> bool:
        return name in self.shapes

    def any_stream(self, name: str, *, block: bool = False) -> bool:
        return self._first(name, block=block) is not None

    def table_rows(self) -> int:
        """Rows of the blocks' modulation tables: 6 (generation 2) or 9."""
        shape = self._first("scale_shift_table", block=True)
        rows = None if shape is None else shape[0]
        if rows not in (6, 9):
            raise CheckpointError(
                f"{self.path}: expected {BLOCK}0.scale_shift_table with 6 or 9 rows, found {rows or 'no such tensor'}; "
                "this is no LTX-2, 2.3 or 2.5 transformer"
            )
        return rows

    def layers(self) -> int:
        return len({name.split(".")[1] for name in self.shapes if name.startswith(BLOCK)})

    def heads(self) -> int:
        gates = self._first("attn1.to_gate_logits.weight", block=True)
        return PUBLISHED_HEADS if gates is None else gates[0]

    def caption_channels(self) -> int | None:
        shape = self._first("caption_projection.linear_1.weight", block=False)
        return None if shape is None else shape[1]

    def size(self, name: str, axis: int) -> int:
        shape = self.shapes.get(name)
        if shape is None or len(shape) != 2:
            raise CheckpointError(
                f"{self.path}: expected a matrix {name}, found {shape or 'no such tensor'}; "
                "the file holds no complete transformer"
            )
        return shape[axis]

    def _first(self, name: str, *, block: bool) -> tuple[int, ...] | None:
        for stream in ("", "audio_"):
            shape = self.shapes.get(f"{BLOCK}0.{stream}{name}" if block else f"{stream}{name}")
            if shape is not None:
                return shape
        return None


def _stream_config(fields: _Fields, tensors: _Tensors, stream: str, heads: int) -> StreamConfig | None:
    """Of the stream with this prefix in field and tensor names; None where the file does not hold it."""
    patchify = f"{stream}patchify_proj.weight"
    if not tensors.has(patchify):
        return None
    width = heads * fields.integer(f"{stream}attention_head_dim", tensors.size(patchify, 0) // heads)
    if fields.integer(f"{stream}cross_attention_dim", width) != width:
        raise fields.error(f"{stream}cross_attention_dim", f"{width}, the width of the stream")
    max_pos = fields.numbers(f"{stream}positional_embedding_max_pos", (20,) if stream else (20, 2048, 2048))
    return StreamConfig(
        width=width,
        in_channels=fields.integer(f"{stream}in_channels", tensors.size(patchify, 1)),
        out_channels=fields.integer(f"{stream}out_channels", tensors.size(f"{stream}proj_out.weight", 0)),
        max_pos=max_pos,
        feed_forward_bias=tensors.has(f"{BLOCK}0.{stream}ff.net.0.proj.bias"),
    )


def _fields(checkpoint: Checkpoint) -> _Fields:
    values = checkpoint.config.get("transformer")
    if values is not None and not isinstance(values, dict):
        raise CheckpointError(f"{checkpoint.path}: expected a JSON object as config['transformer'], found {values!r}")
    fields = _Fields(str(checkpoint.path), values or {})
    fields.refuse_unsupported()
    return fields


def _tensors(checkpoint: Checkpoint) -> _Tensors:
    return _Tensors(str(checkpoint.path), _weights(checkpoint).shapes)


def _weights(checkpoint: Checkpoint) -> Weights:
    return plain_weights(checkpoint, transformer_tensors(checkpoint))


def _refuse_quantised(weights: Weights) -> None:
    found = sorted({weights.file.entries[key].dtype for key in weights.tensors.values()} - set(PLAIN_DTYPES))
    raise CheckpointError(
        f"{weights.file.path}: expected weights in {', '.join(PLAIN_DTYPES)}, found {', '.join(found)}; "
        "quantised weights need operations that know their format"
    )


def _prefix(checkpoint: Checkpoint) -> str:
    for prefix in PREFIXES:
        if any(f"{prefix}{stream}patchify_proj.weight" in checkpoint.entries for stream in ("", "audio_")):
            return prefix
    raise CheckpointError(
        f"{checkpoint.path}: expected a transformer (a tensor patchify_proj.weight), found none; "
        "choose a file from diffusion_models or a full checkpoint"
    )
