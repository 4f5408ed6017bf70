"""Half a transformer: one stream alone, without reading the other half (spec transformer.md 13, step 5)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Literal

from ..networks.operations import Operations, torch_operations
from .checkpoint import Checkpoint, CheckpointError, open_checkpoint
from .parts import DiffusionModel, Lazy
from .transformer import load_transformer, transformer_config, transformer_tensors

# Tensors of the exchange between the streams, which a stream alone does not have.
EXCHANGE = ("av_ca_", "a2v_ca_", "audio_to_video_attn", "video_to_audio_attn")


def only_stream(
    model: DiffusionModel, stream: Literal["video", "audio"], *, operations: Operations = torch_operations
) -> DiffusionModel:
    """The same model without its other stream; equal to the whole one that is called without that stream.

    Raises CheckpointError for a model that does not have the stream, and for one that LoRAs have changed already: the
    half is read from the file, so they would be lost.
    """
    if model.loras:
        raise CheckpointError(
            f"{model.path}: expected a model without LoRAs, found {len(model.loras)}; put One Stream of Model before "
            "Load LoRA"
        )
    file = of_stream(open_checkpoint(model.path), stream)
    return replace(  # of the model: an audio-only file no longer tells its generation
        model,
        file=file,
        transformer=Lazy(partial(load_transformer, file, operations=operations), model.transformer.dtype),
        config=transformer_config(file),
    )


def of_stream(checkpoint: Checkpoint, stream: Literal["video", "audio"]) -> Checkpoint:
    """The file as if it held one stream of its transformer and nothing else."""
    kept = {
        key
        for name, key in transformer_tensors(checkpoint).items()
        if ("audio" in name) == (stream == "audio") and not any(part in name for part in EXCHANGE)
    }
    if not kept:
        raise CheckpointError(f"{checkpoint.path}: expected a transformer with {stream}, found none; choose another")
    return replace(checkpoint, entries={key: entry for key, entry in checkpoint.entries.items() if key in kept})
