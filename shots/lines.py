"""Where things stand in a TOML text: tomllib tells nothing of lines, and an error in a film should name its line."""

from __future__ import annotations

import re
from collections.abc import Iterator

Place = tuple[str | int, ...]  # ("shot", 2, "text")
PART = re.compile(r"\"([^\"]*)\"|'([^']*)'|([A-Za-z0-9_-]+)")
OPENING, CLOSING = "[{", "]}"


class Lines:
    """Line numbers, from 1, of tables and of their keys."""

    def __init__(self, text: str) -> None:
        self._lines: dict[Place, int] = {}
        self._counts: dict[Place, int] = {}
        table: Place = ()
        for number, statement in _statements(text):
            if statement.startswith("[["):
                table = self._next(_parts(statement))
            elif statement.startswith("["):
                table = self._resolved(_parts(statement))
            else:
                for end in range(1, len(key := _parts(statement.partition("=")[0])) + 1):
                    self._lines.setdefault((*table, *key[:end]), number)
                continue
            self._lines.setdefault(table, number)

    def of(self, place: Place) -> int:
        """The line of a place, or of the nearest thing around it that has one."""
        while place and place not in self._lines:
            place = place[:-1]
        return self._lines.get(place, 1)

    def _next(self, parts: list[str]) -> Place:
        """The place of one more table of an array."""
        array = (*self._resolved(parts[:-1]), parts[-1])
        self._counts[array] = self._counts.get(array, 0) + 1
        self._lines.setdefault(array, 1)
        return (*array, self._counts[array] - 1)

    def _resolved(self, parts: list[str]) -> Place:
        """Names below an array of tables belong to its last one."""
        place: Place = ()
        for part in parts:
            place = (*place, part)
            if place in self._counts:
                place = (*place, self._counts[place] - 1)
        return place


def _parts(text: str) -> list[str]:
    """The names of a header or of a dotted key."""
    return [next(name for name in found if name) for found in PART.findall(text.split("#")[0]) if any(found)]


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Headers and assignments with the line where they begin; texts and arrays may go over several lines."""
    number, first, start, depth, at = 1, 1, 0, 0, 0
    while at < len(text):
        char = text[at]
        if char in "\"'":
            end = _string_end(text, at)
            number += text.count("\n", at, end)
            at = end
            continue
        if char == "#":
            at = _line_end(text, at)
            continue
        depth += (char in OPENING) - (char in CLOSING)
        if char == "\n":
            if depth <= 0:
                if text[start:at].strip():
                    yield first, text[start:at].strip()
                start, first, depth = at + 1, number + 1, 0
            number += 1
        elif not text[start:at].strip() and not char.isspace():
            first = number
        at += 1
    if text[start:].strip():
        yield first, text[start:].strip()


def _line_end(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end


def _string_end(text: str, at: int) -> int:
    """Behind the text that begins at a quotation mark; the end of the file where it is never closed."""
    mark = text[at]
    fence = mark * 3 if text.startswith(mark * 3, at) else mark
    at += len(fence)
    while at < len(text) and not text.startswith(fence, at):
        if len(fence) == 1 and text[at] == "\n":
            return at
        at += 2 if mark == '"' and text[at] == "\\" else 1
    return min(at + len(fence), len(text))
