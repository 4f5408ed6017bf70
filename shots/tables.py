"""A table of a shot list, read key by key; every refusal is one line with the number of the line that it is about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from .lines import Lines, Place
from .times import FORMS, Time, time_of

Find = Callable[[str], Path]
"""A file's name as it stands in the text -> its path; ValueError where there is none."""


class Table:
    """Values by key, where they stand, and `label`, which says in errors what the table is ("shot 'opening'").

    like: the table whose values count where this one has none.
    """

    def __init__(
        self, values: Mapping[str, Any], place: Place, lines: Lines, *, label: str, like: Table | None = None
    ) -> None:
        self._own, self._place, self._lines, self.label, self._like = values, place, lines, label, like
        self._met: set[str] = set()

    @property
    def line(self) -> int:
        return self._lines.of(self._place)

    def line_of(self, key: str) -> int:
        """Of a key, or of the table where it has none."""
        if key in self._own or self._like is None or key not in self._like:
            return self._lines.of((*self._place, key))
        return self._like.line_of(key)

    def __contains__(self, key: str) -> bool:
        return key in self._own or (self._like is not None and key in self._like)

    def own(self, key: str) -> bool:
        """Whether it stands in this table itself."""
        return key in self._own

    def refuse(self, key: str, text: str) -> NoReturn:
        label = f"{self.label}: " if self.label else ""
        raise ValueError(f"line {self.line_of(key)}: {label}{text}")

    def expect(self, key: str, expected: str, found: str | None = None) -> NoReturn:
        shown = repr(self._value(key)) if found is None else found
        self.refuse(key, f"{key}: expected {expected}, found {shown}")

    def text(self, key: str, default: str | None = None) -> str:
        """Raises ValueError where it is missing without a default."""
        value = self._value(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or not (value.strip() or default is not None):
            self.expect(key, "a text", "none; add it" if value is None else None)
        return value

    def choice(self, key: str, options: Sequence[str], default: str) -> str:
        value = self.text(key, default)
        if value not in options:
            near = get_close_matches(value, options, n=1, cutoff=0.0)
            self.expect(key, " or ".join(map(repr, options)), f"{value!r}; the nearest is {near[0]!r}")
        return value

    def number(self, key: str, default: float, low: float, high: float) -> float:
        value = self._value(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            self.expect(key, f"a number from {low:g} to {high:g}")
        return float(value)

    def whole(self, key: str, default: int, low: int, high: int) -> int:
        value = self._value(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.expect(key, f"a whole number from {low} to {high}")
        return int(value)

    def time(self, key: str) -> Time | None:
        """None where the key is missing."""
        value = self._value(key)
        if value is None:
            return None
        found = time_of(value)
        if found is None:
            self.expect(key, f"a time: {FORMS}")
        return found

    def file(self, key: str, find: Find) -> Path | None:
        """The path of a file; None where the key is missing."""
        if self._value(key) is None:
            return None
        try:
            return find(self.text(key))
        except ValueError as error:
            self.refuse(key, f"{key}: {error}")

    def names(self, key: str) -> tuple[str, ...]:
        """A list of texts."""
        value = self._value(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            self.expect(key, "a list of texts")
        return tuple(value)

    def tables(self, key: str) -> list[Table]:
        """Tables of an array, `{…}` in a list or `[[…]]`."""
        value = self._value(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(entry, Mapping) for entry in value):
            self.expect(key, "a list of tables {…}")
        below = self._holder(key)._below
        return [below((key, place), entry, f"{self.label}, {key} {place + 1}") for place, entry in enumerate(value)]

    def table(self, key: str) -> Table | None:
        value = self._value(key)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            self.expect(key, "a table {…}")
        return self._holder(key)._below((key,), value, f"{self.label}, {key}" if self.label else key)

    def called(self, label: str) -> Table:
        """The same table under another name."""
        return Table(self._own, self._place, self._lines, label=label, like=self._like)

    def keys(self) -> tuple[str, ...]:
        """Its own, in the text's order."""
        return tuple(self._own)

    def finish(self, known: Iterable[str] = ()) -> None:
        """ValueError for a key that nobody asked for."""
        names = sorted(self._met | set(known))
        for key in self._own:
            if key not in names:
                near = get_close_matches(key, names, n=1, cutoff=0.0)
                self.refuse(key, f"{key}: no such key; the nearest is {near[0]}" if near else f"{key}: no such key")

    def _value(self, key: str) -> Any:
        self._met.add(key)
        if key in self._own:
            return self._own[key]
        return None if self._like is None else self._like._value(key)

    def _holder(self, key: str) -> Table:
        return self if key in self._own or self._like is None else self._like._holder(key)

    def _below(self, place: Place, values: Mapping[str, Any], label: str) -> Table:
        return Table(values, (*self._place, *place), self._lines, label=label)
