"""Of which generation things on the wires are; the node that first sees two parts refuses those of different ones."""

from __future__ import annotations

from typing import Any

from ..model_loaders.file_names import generation_by_name
from ..model_loaders.generations import possible, shared
from ..model_loaders.parts import Part, refuse_mixed
from .host.api import warn_user

GENERATION = "openltx_generation"
Latent = dict[str, Any]


def of_part(latent: Latent, part: Part, what: str = "latent") -> Latent:
    """The LATENT, from now on of the generation that it shares with `part`.

    ValueError, one line, where they share none. A latent that names no generation (other packs) fits every part.
    """
    generation = refuse_mixed(part, latent.get(GENERATION), what)
    named = generation_by_name(part.path.name)
    if named is not None and len(possible(part.generation)) > 1 and named not in possible(generation):
        warn_user(f"{part.path.name}: by its name of LTX-{named}, used with LTX-{generation}; check that it is right")
    return _marked(latent, generation)


def of_latent(latent: Latent, other: Latent, what: str) -> Latent:
    """The LATENT, from now on of the generation that it shares with `other`, which the node calls `what`."""
    return _marked(latent, shared(latent.get(GENERATION), other.get(GENERATION), like="the latent", what=what))


def generation_of(latent: Latent) -> Latent:
    """Of a LATENT, its mark alone, for a LATENT that is made from it."""
    return {key: value for key, value in latent.items() if key == GENERATION}


def _marked(latent: Latent, generation: str | None) -> Latent:
    rest = {key: value for key, value in latent.items() if key != GENERATION}
    return rest if generation is None else {**rest, GENERATION: generation}
