"""Generations as the loaders name them: "2", "2.3", "2.5", several joined by " or " where a header fits them all.

None and `any` fit every generation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

ALL = ("2", "2.3", "2.5")
ANY = "any"


def possible(generation: str | None) -> tuple[str, ...]:
    """The generations that a name stands for, the oldest first."""
    if generation is None or not generation.startswith("2"):
        return ALL
    return tuple(name for name in ALL if name in generation.split(" or "))


def shared(expected: str | None, found: str | None, *, like: str, what: str) -> str | None:
    """The narrowest name that fits both: "2.3 or 2.5" and "2.3" → "2.3", None for all.

    ValueError, one line, where none fits. like: what is `expected`; what: what was found.
    """
    both = [name for name in possible(expected) if name in possible(found)]
    if not both:
        raise ValueError(f"{what}: expected LTX-{expected} like {like}, found LTX-{found}; use parts of one generation")
    return None if len(both) == len(ALL) else " or ".join(both)


def version_numbers(metadata: Mapping[str, str]) -> tuple[int, ...]:
    """Leading integers of the metadata entry `model_version`: "2.3.rc1" → (2, 3); () without the entry."""
    numbers: list[int] = []
    for piece in re.split(r"[.-]", metadata.get("model_version", "").strip('"')):
        if not piece.isdecimal():
            break
        numbers.append(int(piece))
    return tuple(numbers)


def of_version(metadata: Mapping[str, str]) -> str | None:
    """The generation that `model_version` names; None where it names none of ours."""
    version = version_numbers(metadata)[:2]
    if version and version[0] != 2:
        return None
    if version and version[1:] <= (0,):
        return "2"
    if version[1:] == (3,):
        return "2.3"
    return "2.5" if version[1:] in ((4,), (5,)) else None
