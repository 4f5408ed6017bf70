"""Who and what appears: `[cast.NAME]` with words, a picture, a voice; `{NAME}` in a text stands for the words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from .tables import Find, Table

NAMED = re.compile(r"\{([A-Za-z_][\w-]*)\}")


@dataclass(frozen=True, kw_only=True)
class Told:
    """A text with all names written out, and what the named ones bring along."""

    text: str
    voices: tuple[Path, ...]
    references: tuple[Path, ...]


@dataclass(frozen=True, kw_only=True)
class Member:
    """One of the cast. table: where it stands, for errors."""

    table: Table
    text: str
    voice: Path | None
    image: Path | None


@dataclass(frozen=True, kw_only=True)
class Cast:
    """The cast by name; before, after: the style's words around every shot's text."""

    members: Mapping[str, Member]
    before: str
    after: str

    def told(self, table: Table, key: str) -> Told:
        """A shot's text. ValueError for a name that is not in the cast, and for a cycle of names."""
        met: list[str] = []
        words = [self.before, self._written(table.text(key), table, key, [], met), self.after]
        text = ", ".join(part for part in words if part)
        found = [self.members[name] for name in dict.fromkeys(met)]
        return Told(
            text=text,
            voices=tuple(member.voice for member in found if member.voice is not None),
            references=tuple(member.image for member in found if member.image is not None),
        )

    def voice_or(self, find: Find) -> Find:
        """A voice by the name of one of the cast, else as a file."""

        def found(name: str) -> Path:
            member = self.members.get(name)
            return find(name) if member is None or member.voice is None else member.voice

        return found

    def check(self) -> None:
        """ValueError for a cycle and for an unknown name, also where no shot comes upon it."""
        for name, member in self.members.items():
            self._written(member.text, member.table, "text", [name], [])

    def _written(self, text: str, table: Table, key: str, path: list[str], met: list[str]) -> str:
        def words(found: re.Match[str]) -> str:
            name = found[1]
            if name in path:
                cycle = " → ".join([*path[path.index(name) :], name])
                table.refuse(key, f"{key}: expected no cycle of references, found {cycle}; write one of them out")
            if name not in self.members:
                near = get_close_matches(name, self.members, n=1, cutoff=0.0)
                hint = f"; the nearest is {{{near[0]}}}" if near else "; add [cast." + name + "]"
                table.refuse(key, f"{key}: expected a name of the cast, found {{{name}}}{hint}")
            met.append(name)
            member = self.members[name]
            return self._written(member.text, member.table, "text", [*path, name], met)

        return NAMED.sub(words, text)


def read_cast(root: Table, find: Find) -> Cast:
    """[cast.*] and [style]."""
    members: dict[str, Member] = {}
    holder = root.table("cast")
    for name in () if holder is None else holder.keys():
        assert holder is not None
        entry = holder.table(name)
        assert entry is not None
        table = entry.called(f"cast {name!r}")
        members[name] = Member(
            table=table, text=table.text("text", name), voice=table.file("voice", find), image=table.file("image", find)
        )
        table.finish()
    style = root.table("style")
    before = after = ""
    if style is not None:
        before, after = style.text("before", ""), style.text("text", "")
        style.finish()
    cast = Cast(members=members, before=before, after=after)
    cast.check()
    return cast
