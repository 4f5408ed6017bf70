"""JSON as no program would write it: wrong types, absurd numbers, deep nesting, paths that lead out, text cut short."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

PATHS = ("../../escape", "/tmp/openltx_escape", "..\\..\\escape", "a/../../../escape", "\x00", "CON", "~/escape", "-o")
NUMBERS: tuple[Any, ...] = (0, -1, 2**31, 2**63, 2**70, -(2**70), 1e308, float("nan"), float("inf"), 0.1, True)
TEXTS = ("", "x" * 5000, "\ud800", "\u202e\n\r\t", "%s{}$()", "__proto__", "0" * 5000, *PATHS)
LINKS: tuple[Any, ...] = (["1", 99], ["1", -1], ["nowhere", 0], ["1", 0, 0], [1, 0], {"__value__": []})
WORDS: tuple[Any, ...] = (None, [], {}, [[]], *LINKS)
Place = tuple[Any, Any]  # a container, and the key or index in it


def odd(rng: random.Random, whole: Any) -> Any:
    """`whole` with one to four values changed."""
    changed = copy.deepcopy(whole)
    for _ in range(rng.choice((1, 1, 2, 4))):
        places = list(_places(changed))
        if not places:
            break
        container, key = rng.choice(places)
        rng.choice((_replaced, _replaced, _out, _dropped, _deep, _moved))(rng, container, key, changed)
    return changed


def odd_text(rng: random.Random, whole: Any) -> bytes:
    """As a file, now and then damaged as text."""
    data = json.dumps(odd(rng, whole)).encode()
    kind = rng.randrange(8)
    if kind == 0:
        return data[: rng.randrange(len(data))]
    if kind == 1:
        at = rng.randrange(len(data))
        return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
    if kind == 2:
        return rng.choice((b"[" * 50_000, b'{"a":' * 50_000, b"\xef\xbb\xbf" + data, data.decode().encode("utf-16")))
    return data


def _places(value: Any) -> Iterator[Place]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])


def _replaced(rng: random.Random, container: Any, key: Any, whole: Any) -> None:
    container[key] = rng.choice((*NUMBERS, *TEXTS, *map(copy.deepcopy, WORDS)))


def _out(rng: random.Random, container: Any, key: Any, whole: Any) -> None:
    """A path that leads out, where there was a text."""
    strings = [(c, k) for c, k in _places(whole) if isinstance(c[k], str)]
    if strings:
        container, key = rng.choice(strings)
    container[key] = rng.choice(PATHS)


def _dropped(rng: random.Random, container: Any, key: Any, whole: Any) -> None:
    del container[key]


def _deep(rng: random.Random, container: Any, key: Any, whole: Any) -> None:
    value = container[key]
    for _ in range(rng.choice((3, 200))):
        value = [value] if rng.random() < 0.5 else {"a": value}
    container[key] = value


def _moved(rng: random.Random, container: Any, key: Any, whole: Any) -> None:
    """A value of another place."""
    other, at = rng.choice(list(_places(whole)))
    container[key] = copy.deepcopy(other[at])
