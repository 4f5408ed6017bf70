"""Order of a workflow's nodes: depth-first from the outputs, inputs in order, each node once; cycles named."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Order:
    """`nodes`: every node that is needed, after all of its sources. `cycles`: closed paths, first node = last node."""

    nodes: tuple[str, ...]
    cycles: tuple[tuple[str, ...], ...]


def order(roots: Iterable[str], sources: Callable[[str], Sequence[str]]) -> Order:
    """Depth-first order of all nodes that `roots` need. Iterative: a long chain must not exhaust Python's stack."""
    done: dict[str, None] = {}
    cycles: list[tuple[str, ...]] = []
    for root in roots:
        path, pending = [root], [iter(sources(root))]
        while path:
            following = next(pending[-1], None)
            if following is None:
                done[path.pop()] = None
                pending.pop()
            elif following in path:
                cycles.append((*path[path.index(following) :], following))
            elif following not in done:
                path.append(following)
                pending.append(iter(sources(following)))
    return Order(nodes=tuple(done), cycles=tuple(cycles))
