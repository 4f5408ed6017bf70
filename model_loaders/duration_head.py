"""Duration head file of LTX-2.5 → DurationHead (text.md section 10)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..networks.operations import Operations, torch_operations
from ..networks.text.duration import DurationHead, DurationHeadConfig
from .assemble import strip_prefix
from .checkpoint import Checkpoint, CheckpointError
from .quantisation.weights import assemble_plain, plain_weights

PREFIX = "duration_head."
QUERIES = "attention_pooler.query_tokens"
VIDEO, AUDIO = "video_input_proj.weight", "audio_input_proj.weight"
HIDDEN = "mlp_hidden.weight"
NUM_HEADS = 4  # of every published file; nothing in it says so
Shapes = Mapping[str, tuple[int, ...]]


def load_duration_head(file: Checkpoint, *, operations: Operations = torch_operations) -> DurationHead:
    """The duration head of a file of its own, or of a file that holds it among other things.

    Raises CheckpointError, one line, when there is none, when its tensors do not fit together, or when the file's
    configuration contradicts them.
    """
    weights = plain_weights(file, strip_prefix(file.entries, PREFIX))
    if QUERIES not in weights.tensors:
        raise CheckpointError(
            f"{file.path}: expected a duration head ({PREFIX}*), found none; "
            "give the file ltx-2.5-duration-head of model_patches"
        )
    config = duration_head_config(file.config.get("duration_head") or {}, weights.shapes)
    return assemble_plain(lambda: DurationHead(config, operations=operations), [weights], what="duration head")


def duration_head_config(config: Mapping[str, Any], shapes: Shapes) -> DurationHeadConfig:
    """Sizes from the tensors; `num_pooler_heads` from `config.duration_head`, where the file has it.

    Raises CheckpointError, one line, for a missing tensor, for an entry that contradicts the tensors, and for heads
    that do not divide the width.
    """
    missing = [name for name in (QUERIES, VIDEO, AUDIO, HIDDEN) if name not in shapes]
    if missing:
        raise CheckpointError(f"duration head: {', '.join(missing)} not in the file; download it again")
    num_queries, hidden_size = shapes[QUERIES]
    mlp_size = shapes[HIDDEN][0]
    found = {"pooler_hidden_dim": hidden_size, "num_queries": num_queries, "mlp_hidden": mlp_size}
    for name, size in found.items():
        if config.get(name, size) != size:
            raise CheckpointError(
                f"duration head: expected {name} {size} as in its tensors, found {config[name]} in its configuration; "
                "download the file again"
            )
    num_heads = config.get("num_pooler_heads", NUM_HEADS)
    if num_heads < 1 or hidden_size % num_heads:
        raise CheckpointError(f"duration head: expected heads that divide {hidden_size}, found {num_heads}")
    return DurationHeadConfig(
        video_width=shapes[VIDEO][1],
        audio_width=shapes[AUDIO][1],
        hidden_size=hidden_size,
        mlp_size=mlp_size,
        num_queries=num_queries,
        num_heads=num_heads,
    )
