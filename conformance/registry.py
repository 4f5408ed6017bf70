"""Which (component, op) pairs can be run, and by what."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .case import Case

Procedure = Callable[[Case], dict[str, Tensor]]
Kind = tuple[str, "str | None"]

_procedures: dict[Kind, Procedure] = {}


def procedure(component: str, op: str | None = None) -> Callable[[Procedure], Procedure]:
    """Register a function that runs a case: it returns {output name without `@out/`: tensor}."""

    def register(function: Procedure) -> Procedure:
        assert (component, op) not in _procedures, f"two procedures for {(component, op)}"
        _procedures[component, op] = function
        return function

    return register


def find(kind: Kind) -> Procedure | None:
    _load_all()
    return _procedures.get(kind)


def known_kinds() -> list[Kind]:
    _load_all()
    return sorted(_procedures, key=lambda kind: (kind[0], kind[1] or ""))


def _load_all() -> None:
    from .procedures import load_all

    load_all()
