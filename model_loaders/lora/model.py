"""A LoRA for a model handle: nothing is read but headers until the network is first used."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from ...networks.transformer import Transformer
from ..assemble import build_on_meta
from ..parts import DiffusionModel, Lazy
from .file import LoraReport, open_lora
from .network import LoraUse, apply_loras
from .strengths import LoraStrengths


def with_lora(
    model: DiffusionModel, path: str | os.PathLike[str], strengths: LoraStrengths
) -> tuple[DiffusionModel, LoraReport]:
    """The model with one LoRA more, and what came of it. The model itself is not changed.

    The new handle reads the clean weights again and puts all its LoRAs in together, so that nothing is rounded twice.
    Raises CheckpointError, one line, for a file that is no LoRA, that is for another generation, or that changes no
    layer of the model.
    """
    lora = open_lora(path)
    names = build_on_meta(lambda: Transformer(model.config)).state_dict()
    matched = lora.match(names, generation=model.generation)
    uses = (*model.loras, LoraUse(lora=lora, matched=matched, strengths=strengths))
    clean = model.clean or model.transformer.source
    adapted = Lazy(partial(_load, clean, uses), model.transformer.dtype)
    return replace(model, transformer=adapted, loras=uses, clean=clean), lora.report(matched)


def _load(clean: Callable[[], Transformer], uses: Sequence[LoraUse]) -> Transformer:
    network = clean()
    apply_loras(network, uses)
    return network
