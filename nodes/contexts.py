"""CONDITIONING → the contexts of the two streams.

On the wire it has ComfyUI's form: a list of [contexts, options], video and audio context side by side on the last axis.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..model_loaders.parts import DiffusionModel, refuse_mixed
from ..networks.transformer import TransformerConfig
from ..samplers.streams import Streams
from .generations import GENERATION
from .host.api import compute_device, warn_user

UNPROCESSED = "unprocessed_ltxav_embeds"  # of ComfyUI's text encoder: features that the connectors have not seen
EMPTY = "openltx_empty_prompt"  # usual for a negative prompt, worth a word for a positive one
POSITIVE = "positive"
Conditioning = list[list[Any]]


def refuse_other_text(conditioning: Conditioning | None, model: DiffusionModel, name: str) -> None:
    """ValueError, one line, for conditioning that a text encoder of another generation made."""
    for _, options in conditioning or ():
        refuse_mixed(model, options.get(GENERATION), name)


def contexts_of(conditioning: Conditioning, model: DiffusionModel, name: str) -> Streams[Tensor]:
    """The two contexts (1, S, D) in a CONDITIONING, for this model.

    Raises ValueError for conditioning of another width, or with several entries.
    """
    if len(conditioning) != 1:
        raise ValueError(f"{name}: expected one conditioning entry, found {len(conditioning)}; encode a single prompt")
    contexts, options = conditioning[0]
    if name == POSITIVE and options.get(EMPTY):
        warn_user("the prompt is empty: the model is free to choose what it shows")
    if options.get(UNPROCESSED):
        device = compute_device()
        contexts = model.connectors.on(device)(contexts.to(device, model.connectors.dtype))
    return split_contexts(contexts, model.config, name)


def split_contexts(contexts: Tensor, config: TransformerConfig, name: str) -> Streams[Tensor]:
    """Contexts (B, S, Dv + Da) side by side → those of the streams that a model has. ValueError for other widths."""
    widths = _context_widths(config, contexts.shape[-1])
    if contexts.shape[-1] != sum(widths):
        raise ValueError(
            f"{name}: expected contexts of width {' + '.join(map(str, widths))}, found {contexts.shape[-1]}; encode "
            "the prompt with the text encoder of this model"
        )
    video, audio = torch.split(contexts, list(widths), dim=-1)
    return Streams(
        video=None if config.video is None else video.contiguous(),
        audio=None if config.audio is None else audio.contiguous(),
    )


def _context_widths(config: TransformerConfig, found: int) -> tuple[int, int]:
    """Of a model with one stream, the other one's part is whatever is left: its text encoder still gives both."""
    video, audio = (
        None if stream is None else config.caption_channels or stream.width for stream in (config.video, config.audio)
    )
    return (
        max(found - (audio or 0), 0) if video is None else video,
        max(found - (video or 0), 0) if audio is None else audio,
    )
