"""A LoRA for a text encoder: Gemma, the text projection and the connectors, as one network."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from torch import nn

from ..parts import Lazy, TextPart
from ..text_encoder import CONNECTOR, DECODER, MODALITIES, PROJECTION, TextEncoder, identity_of
from .file import LoraReport, open_lora
from .keys import FLAT_PREFIXES, spellings
from .network import LoraUse, apply_loras
from .strengths import LoraStrengths

# What stands before `layers.0.self_attn.q_proj` (quantization.md section 8.1): the program's part, Gemma's part.
GEMMAS = ("gemma3_12b", "gemma3", "gemma4_12b", "gemma4", "gemma")
LEADS = (
    *(f"text_encoders.{name}.transformer." for name in GEMMAS),
    *("text_encoders.", "text_encoder.", "base_model.model.", "base_model.model.text_encoder.", ""),
)
INNER = ("model.", "language_model.model.", "model.language_model.", "")
FLAT_LEADS = ("lora_te_", "lora_te1_", "lora_te2_", *FLAT_PREFIXES)


def with_text_lora(text: TextPart, path: str | os.PathLike[str], strength: float) -> tuple[TextPart, LoraReport]:
    """The text encoder with one LoRA more, and what came of it. The one given is not changed.

    Raises CheckpointError, one line, for a file that is no LoRA, that is for another generation, or that changes no
    layer of a text encoder.
    """
    lora = open_lora(path)
    matched = lora.match(text.layers, generation=text.generation, what="text encoder", spell=text_spellings)
    strengths = LoraStrengths().scaled(strength)
    uses = (*text.loras, LoraUse(lora=lora, matched=matched, strengths=strengths))
    clean = text.clean or text.encoder.source
    adapted = Lazy(partial(_load, clean, uses), text.encoder.dtype)
    return replace(text, encoder=adapted, loras=uses, clean=clean), lora.report(matched)


def text_spellings(layer: str) -> Iterator[str]:
    """Everything that files call a layer; the decoder's begin with DECODER, others have their published names."""
    if layer.startswith(DECODER):
        own = layer.removeprefix(DECODER)
        for inner in INNER:
            yield from (lead + inner + own for lead in LEADS)
            yield from (lead + (inner + own).replace(".", "_") for lead in FLAT_LEADS)
        return
    yield from spellings(layer)
    if not layer.startswith(PROJECTION):
        yield PROJECTION + layer


def _load(clean: Callable[[], TextEncoder], uses: Sequence[LoraUse]) -> TextEncoder:
    encoder = clean()
    whole = nn.Module()
    whole.add_module(DECODER.rstrip("."), encoder.decoder)
    whole.add_module(PROJECTION.rstrip("."), encoder.projection)
    for modality, connector in zip(MODALITIES, (encoder.video_connector, encoder.audio_connector), strict=True):
        whole.add_module(CONNECTOR.format(modality).rstrip("."), connector)
    apply_loras(whole, uses)
    changed = tuple((identity_of(use.lora.file.path), use.strengths) for use in uses)
    return replace(encoder, identity=(encoder.identity, changed))
