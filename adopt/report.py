"""What became of each node of an adopted workflow."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

KINDS = {
    "mapped": "mapped to OpenLTX",
    "replaced": "several replaced by one node, or by a value",
    "kept": "kept as they are",
    "unmapped": "not mapped",
    "out": "left out",
}


LONGEST, MOST = 400, 500  # characters of a line, and lines of a kind


def shown(text: str) -> str:
    """What a file says, in one line that a terminal can show."""
    plain = "".join(mark if mark.isprintable() else " " for mark in text[: LONGEST + 1])
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST - 1]}…"


def _once(lines: list[str], text: str) -> None:
    if text in lines or len(lines) > MOST:
        return
    lines.append(text if len(lines) < MOST else "and more")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """node: its name in the old file. into: what it became. note: what differs, or the reason and what to do."""

    kind: str
    node: str
    into: str = ""
    note: str = ""

    def line(self) -> str:
        arrow = f" -> {self.into}" if self.into else ""
        return f"  {self.node}{arrow}" + (f": {self.note}" if self.note else "")


@dataclass(kw_only=True)
class Report:
    """All entries in the order of the file; preset and differences concern the whole of it."""

    entries: list[Entry] = field(default_factory=list)
    preset: str = ""
    differences: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    standalone: str = ""  # why the built-in host cannot run it; empty: it can

    def add(self, kind: str, node: str, into: str = "", note: str | None = None) -> None:
        assert kind in KINDS
        self.entries.append(Entry(kind=kind, node=shown(node), into=shown(into), note=shown(note or "")))

    def differs(self, text: str) -> None:
        """A difference of results, once."""
        _once(self.differences, shown(text))

    def remark(self, text: str) -> None:
        _once(self.remarks, shown(text))

    def count(self, kind: str) -> int:
        return sum(entry.kind == kind for entry in self.entries)

    def lines(self) -> list[str]:
        """For people."""
        found = [", ".join(f"{self.count(kind)} {text}" for kind, text in KINDS.items() if self.count(kind))]
        found += [f"preset: {shown(self.preset)}"] if self.preset else []
        for kind, text in KINDS.items():
            own = [entry.line() for entry in self.entries if entry.kind == kind]
            found += [f"{text}:", *own] if own else []
        for title, rows in (("differences of the result", self.differences), ("about the file", self.remarks)):
            found += [f"{title}:", *(f"  {row}" for row in rows)] if rows else []
        hosts = f"ComfyUI only: {shown(self.standalone)}" if self.standalone else "ComfyUI and openltx run"
        return [*found, f"runs in: {hosts}"]

    def note(self, name: str) -> str:
        """What somebody who opens the new workflow should know, in Markdown."""
        lost = [f"- {entry.node}: {entry.note}" for entry in self.entries if entry.kind == "unmapped"]
        rows = [f"## {name}", "", "Adopted by `openltx adopt`.", f"Preset: {self.preset}" if self.preset else ""]
        rows += ["", "**Not mapped**", "", *lost] if lost else []
        rows += (
            ["", "**Differs from the old one**", "", *(f"- {text}" for text in self.differences)]
            if self.differences
            else []
        )
        return "\n".join(rows)

    def as_json(self) -> dict[str, Any]:
        return {
            "entries": [asdict(entry) for entry in self.entries],
            "preset": self.preset,
            "differences": self.differences,
            "remarks": self.remarks,
            "standalone": not self.standalone,
            "standalone_reason": self.standalone,
        }
